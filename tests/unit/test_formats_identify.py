"""Wrong files are refused with what they are. Shapes alone are looked at: nothing here has numbers."""

from __future__ import annotations

from pathlib import Path

import motion_layouts
import pytest
import sd15_layout
import torch
from torch import Tensor

from animatelcm_core.formats import (
    FormatError,
    identify,
    load_motion,
    require_lora,
)
from animatelcm_core.formats.kinds import KINDS
from animatelcm_core.host.advice import ADVICE, for_artists

Shapes = dict[str, tuple[int, ...]]

FULL = sd15_layout.FULL
SDXL = (320, 640, 1280)
CHECKPOINT = sd15_layout.checkpoint_shapes(FULL)
UNET = sd15_layout.unet_shapes(FULL)
V3 = motion_layouts.motion_shapes("animatediff_v3", FULL.channels)
LORA = sd15_layout.lora_shapes(FULL, 64)
RANK = ((64, 320), (320, 64))


def meta(shapes: Shapes) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def low_rank(name: str, down: str, up: str, shapes: tuple[tuple[int, ...], ...] = RANK) -> Shapes:
    return {name + down: shapes[0], name + up: shapes[1]}


def without(prefix: str, shapes: Shapes) -> Shapes:
    return {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}


ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0."
MOTION = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0."
TEXT_RANK = ((64, 768), (320, 64))

# name -> (shapes, what the message says it is, where it says it belongs)
WRONG: dict[str, tuple[Shapes, str, str]] = {
    "LCM LoRA": (LORA, "a LoRA for SD1.5", "models/loras"),
    "peft LoRA": (
        low_rank(f"unet.{ATTENTION}attn2.to_k", ".lora_A.weight", ".lora_B.weight", TEXT_RANK),
        "a LoRA for SD1.5",
        "models/loras",
    ),
    "SDXL LoRA": (
        low_rank(
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
            ".lora_down.weight",
            ".lora_up.weight",
            ((8, 2048), (640, 8)),
        ),
        "a LoRA for SDXL",
        "models/loras",
    ),
    "LoHa": ({"lora_unet_x.hada_w1_a": (8, 8), "lora_unet_x.hada_w1_b": (8, 8)}, "a LoRA", "models/loras"),
    "AnimateDiff v3 adapter": (
        low_rank(f"{ATTENTION}attn2.processor.to_k_lora", ".down.weight", ".up.weight", TEXT_RANK),
        "AnimateDiff v3's adapter",
        "models/loras",
    ),
    "motion LoRA": (
        low_rank(f"{MOTION}processor.to_q_lora", ".down.weight", ".up.weight"),
        "a motion LoRA",
        "Choose a motion model",
    ),
    "motion LoRA of diffusers": (
        low_rank("unet.down_blocks.0.motion_modules.0.attn1.to_q", ".lora_A.weight", ".lora_B.weight"),
        "a motion LoRA",
        "Choose a motion model",
    ),
    "Control-LoRA": (
        {"lora_controlnet": (0,), "input_blocks.0.0.lora_up.weight": (1, 1)},
        "a Control-LoRA",
        "models/controlnet",
    ),
    "SD1.5 checkpoint": (CHECKPOINT, "a checkpoint for SD1.5", "models/checkpoints"),
    "SD1.5 UNet": (
        UNET,
        "a diffusion model without text encoder and VAE for SD1.5",
        "models/diffusion_models",
    ),
    "UNet of diffusers": (
        {"conv_in.weight": (320, 4, 3, 3), "down_blocks.0.resnets.0.conv1.weight": (320, 320, 3, 3)},
        "a diffusion model without",
        "models/diffusion_models",
    ),
    "ControlNet": (
        {f"control_model.{key}": shape for key, shape in UNET.items()}
        | {"control_model.zero_convs.0.0.weight": (320, 320, 1, 1)},
        "a ControlNet for SD1.5",
        "models/controlnet",
    ),
    "ControlNet of diffusers": (
        {"conv_in.weight": (320, 4, 3, 3), "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)},
        "a ControlNet",
        "models/controlnet",
    ),
    "SparseCtrl": (
        V3 | {"controlnet_cond_embedding.weight": (320, 4, 3, 3), "controlnet_mid_block.weight": (1, 1)},
        "SparseCtrl",
        "models/controlnet",
    ),
    "T2I-Adapter": ({"body.0.block1.weight": (320, 320, 3, 3)}, "a T2I-Adapter", "models/controlnet"),
    "VAE": (without("first_stage_model.", CHECKPOINT), "a VAE", "models/vae"),
    "VAE of diffusers": ({"decoder.up_blocks.0.resnets.0.conv1.weight": (1,)}, "a VAE", "models/vae"),
    "text encoder": (
        without("cond_stage_model.transformer.", CHECKPOINT),
        "a text encoder",
        "models/text_encoders",
    ),
    "CLIP vision": (
        {"vision_model.embeddings.class_embedding": (1024,)},
        "a CLIP vision",
        "models/clip_vision",
    ),
    "IP-Adapter": ({"image_proj.norm.weight": (768,)}, "an IP-Adapter", "models/ipadapter"),
    "embedding": ({"emb_params": (4, 768)}, "a textual-inversion embedding", "models/embeddings"),
    "AnimateDiff SDXL": (motion_layouts.motion_shapes("animatediff_v3", SDXL), "made for SDXL", "SD1.5"),
    "AnimateDiff SDXL of diffusers": (
        motion_layouts.motion_shapes("diffusers_motion_adapter", SDXL),
        "made for SDXL",
        "SD1.5",
    ),
    "HotshotXL": (
        {
            "down_blocks.0.temporal_attentions.0.proj_in.weight": (320, 320),
            "up_blocks.0.temporal_attentions.0.transformer_blocks.0.pos_encoder.positional_encoding": (1,),
        },
        "a HotshotXL motion model",
        "SD1.5",
    ),
    "PIA": (V3 | {"conv_in.weight": (320, 9, 3, 3)}, "a PIA model", "image-to-video"),
    "AnimateLCM-SVD": (
        {
            "conv_in.weight": (320, 8, 3, 3),
            "down_blocks.0.resnets.0.temporal_res_block.conv1.weight": (320, 320, 3, 1, 1),
        },
        "Stable Video Diffusion",
        "models/checkpoints",
    ),
    "SVD": (
        {"model.diffusion_model.input_blocks.1.1.time_stack.0.norm1.weight": (320,)},
        "Stable Video Diffusion",
        "models/checkpoints",
    ),
    "image encoder alone": (
        motion_layouts.encoder_shapes(FULL.channels),
        "an AnimateLCM image encoder without its motion model",
        "whole",
    ),
    "something else": (
        {"layers.0.weight": (3, 3)},
        "1 tensors of no kind known here (the first is layers.0",
        "SD1.5",
    ),
    "nothing": ({}, "0 tensors", "SD1.5"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_with_what_it_is(name: str) -> None:
    shapes, what, where = WRONG[name]
    with pytest.raises(FormatError) as caught:
        load_motion(meta(shapes), {}, "some/file.safetensors")
    text = str(caught.value)
    assert text.startswith("got a")
    assert what in text
    assert text.endswith(" in some/file.safetensors; expected a motion model for SD1.5.")
    with pytest.raises(FormatError) as told, for_artists():
        load_motion(meta(shapes), {}, "some/file.safetensors")
    assert str(told.value).startswith(f"{text} ")
    assert where in str(told.value).removeprefix(text)


LORAS = {"LCM LoRA", "peft LoRA", "SDXL LoRA", "LoHa", "AnimateDiff v3 adapter"}


@pytest.mark.parametrize("name", WRONG)
def test_only_loras_pass_as_loras(name: str) -> None:
    tensors = meta(WRONG[name][0])
    assert (identify(tensors).kind == "lora") == (name in LORAS)
    assert identify(tensors).kind != "motion"
    if name in LORAS:
        require_lora(tensors, "x.safetensors")
    else:
        with pytest.raises(FormatError, match=r" in x\.safetensors; expected a LoRA\.$"):
            require_lora(tensors, "x.safetensors")


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("animatelcm_t2v", "an AnimateLCM text-to-video motion model"),
        ("animatelcm_i2v", "an AnimateLCM image-to-video motion model"),
        ("animatediff_v1", "an AnimateDiff v1 motion model"),
        ("animatediff_v2", "an AnimateDiff v2 motion model"),
        ("animatediff_v3", "an AnimateDiff v3 motion model"),
        ("diffusers_motion_adapter", "a motion model in diffusers' MotionAdapter layout"),
    ],
)
def test_motion_models_are_described_and_refused_as_loras(layout: str, words: str) -> None:
    tensors = meta(motion_layouts.motion_shapes(layout, FULL.channels))
    assert (identify(tensors).kind, identify(tensors).words) == ("motion", words)
    with pytest.raises(FormatError, match="models/animatediff_models"), for_artists():
        require_lora(tensors, "mm.ckpt")


def test_every_kind_has_advice_for_artists() -> None:
    assert ADVICE.keys() == KINDS.keys() | {"unknown"}


def test_what_is_no_matter_of_kinds_passes_unchanged() -> None:
    error = FormatError("nothing", "something", "Look again.")
    with pytest.raises(FormatError) as caught, for_artists():
        raise error
    assert caught.value is error


def test_the_core_names_no_node() -> None:
    """An artist is told which node by host/ and nodes/; a trainer has none."""
    root = Path(__file__).resolve().parents[2]
    titles = [page.read_text().partition("\n")[0].removeprefix("# ") for page in root.glob("web/docs/*.md")]
    names = [*titles, "Load LoRA", "Load Checkpoint", "Load Motion Model", "Load VAE", "models/"]
    core = [path for path in root.glob("animatelcm_core/**/*.py") if "host" not in path.parts]
    assert len(titles) == 14
    found = {(path.name, name) for path in core for name in names if name in path.read_text(encoding="ascii")}
    assert found == set()
