"""Tells what a weights file is by the names and shapes of its tensors.

People take one kind of file for another; a message that names the kind saves them the search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import DOWNLOAD_AGAIN, FormatError
from .kinds import KINDS, MOTION_WORDS, MotionKind
from .layout import BLOCKS, ENCODER_PREFIX, is_diffusers
from .words import shown

SDXL_CHANNELS = (320, 640, 1280)
# Ends of the low-rank (or LyCORIS) tensors' names, in all the namings that are about.
_LORA_ENDS = (
    *(f"{start}{side}.weight" for start in (".lora_", ".lora.", "_lora.") for side in ("down", "up")),
    *(".lora_A.weight", ".lora_B.weight", ".lora_linear_layer.down.weight"),
    *(".hada_w1_a", ".lokr_w1", ".lokr_w1_a", ".lokr_w2", ".oft_blocks", ".dora_scale"),
)
# Ends of a projection that reads the text; its last axis is the width of the text.
_TEXT_READERS = (
    *(f"attn2{sep}to_k{end}" for sep in "._" for end in (".lora_down.weight", ".lora_A.weight")),
    *("attn2.processor.to_k_lora.down.weight", "attn2.to_k.weight"),
)
_NO_ARITHMETIC = (torch.uint16, torch.uint32, torch.uint64)
_BASES = {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}  # width of the text -> base model


@dataclass(frozen=True)
class Identity:
    """kind: a key of `KINDS`, or `unknown`; words: with an article, for a sentence such as `got ...`."""

    kind: str
    words: str


class _Contents:
    """Names and shapes of a file's tensors, with what the tests below need to know about them."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        self.shapes = {key: tuple(value.shape) for key, value in tensors.items()}
        self.lora = any(key.endswith(_LORA_ENDS) for key in self.shapes)
        self.motion = any(BLOCKS.match(key) for key in self.shapes)

    def starts(self, *prefixes: str) -> bool:
        return any(key.startswith(prefixes) for key in self.shapes)

    def has(self, *parts: str) -> bool:
        return any(part in key for key in self.shapes for part in parts)

    def base(self) -> str | None:
        """The base model the file is made for, if it has a projection that reads the text."""
        widths = (s[1] for key, s in self.shapes.items() if key.endswith(_TEXT_READERS) and len(s) > 1)
        return _BASES.get(next(widths, 0))

    def motion_widths(self) -> tuple[int, ...]:
        """Channels of the levels going down, as far as the norms of their modules tell."""
        found: dict[str, int] = {}
        for key, shape in self.shapes.items():
            if key.startswith("down_blocks.") and key.endswith(".norm.weight") and len(shape) == 1:
                found[key.split(".")[1]] = shape[0]
        return tuple(found[level] for level in sorted(found))


# In the order they are asked: the first that holds names the file.
_TESTS: dict[str, Callable[[_Contents], bool]] = {
    "motion_lora": lambda c: c.lora and c.has("motion_modules", "temporal_transformer"),
    "control_lora": lambda c: "lora_controlnet" in c.shapes,
    "adapter_lora": lambda c: c.lora and c.starts("lora_controlnet_", "lora_t2iadapter_"),
    "lora": lambda c: c.lora,
    "sparsectrl": lambda c: c.motion and c.has("controlnet_cond_embedding", "input_hint_block"),
    "controlnet": lambda c: c.starts("control_model.", "controlnet_", "zero_convs.", "input_hint_block."),
    "hotshotxl": lambda c: c.has("temporal_attentions.", "pos_encoder.positional_encoding"),
    "svd": lambda c: c.has("time_stack.", "temporal_res_block.", "temporal_transformer_blocks."),
    "checkpoint": lambda c: c.starts("model.diffusion_model."),
    "sdxl_motion": lambda c: c.motion and c.motion_widths() == SDXL_CHANNELS,
    "pia": lambda c: c.motion and c.shapes.get("conv_in.weight", ())[1:2] == (9,),
    "motion": lambda c: c.motion,
    "encoder": lambda c: c.starts(ENCODER_PREFIX),
    "unet": lambda c: c.starts("input_blocks.", "down_blocks."),
    "t2i_adapter": lambda c: c.starts("adapter.body.", "body.0."),
    "vae": lambda c: c.starts("first_stage_model.", "decoder.conv_in.", "decoder.up"),
    "ip_adapter": lambda c: c.starts("image_proj.", "ip_adapter."),
    "clip_vision": lambda c: c.starts("vision_model.", "visual."),
    "text_encoder": lambda c: c.has("text_model.encoder.", "transformer.resblocks."),
    "embedding": lambda c: c.starts("emb_params", "string_to_param", "clip_l", "clip_g"),
}


def identify(tensors: Mapping[str, Tensor]) -> Identity:
    """Kind of the file that these tensors came from."""
    contents = _Contents(tensors)
    kind = next((kind for kind, test in _TESTS.items() if test(contents)), None)
    if kind is None:
        first = next(iter(contents.shapes), "none")
        words = (
            f"a file of {len(contents.shapes)} tensors of no kind known here (the first is {shown(first)})"
        )
        return Identity("unknown", words)
    words = KINDS[kind]
    if kind == "motion":
        words = MOTION_WORDS[motion_kind(contents.shapes)]
    elif kind in ("lora", "controlnet", "checkpoint", "unet") and (base := contents.base()):
        words += f" for {base}"
    if kind == "lora" and contents.has(".processor."):
        words += " in old diffusers names (AnimateDiff v3's adapter is one)"
    return Identity(kind, words)


def motion_kind(shapes: Mapping[str, tuple[int, ...]]) -> MotionKind:
    """Layout of a motion model.

    The authors' files have no position tables, or `pos_encoding` ones if their training code wrote the file;
    AnimateDiff's have `pe` tables: v1 of 24 rows, v2 and v3 of 32, and only v2 has a middle module.
    """
    if any(key.startswith(ENCODER_PREFIX) for key in shapes):
        return "animatelcm_i2v"
    if is_diffusers(shapes):
        return "diffusers_motion_adapter"
    tables = [shape for key, shape in shapes.items() if key.endswith("pos_encoder.pe")]
    if not tables:
        return "animatelcm_t2v"
    if any(key.startswith("mid_block.") for key in shapes):
        return "animatediff_v2"
    return "animatediff_v1" if tables[0][-2:-1] <= (24,) else "animatediff_v3"


def require_lora(tensors: Mapping[str, Tensor], name: str) -> None:
    """FormatError saying what the file `name` is, unless it is a LoRA."""
    found = identify(tensors)
    if found.kind != "lora":
        raise FormatError(f"{found.words} in {name}", "a LoRA", kind=found.kind)
    for key, value in tensors.items():
        if value.is_complex() or value.is_quantized or value.dtype in _NO_ARITHMETIC:
            raise FormatError(
                f"{value.dtype} numbers in {shown(key)} in {name}", "floating point", DOWNLOAD_AGAIN
            )
