"""A tiny cached data set and configs on the small world's shipped files: training in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from animatelcm_core.formats import AdapterKind
from training.adapters import build_adapter, published_tensors
from training.base import load_base
from training.config import BaseConfig, RunConfig
from training.config_file import deep_merge
from training.data import CacheMeta, CacheWriter, open_dataset
from training.engine import Trainer
from training.export import kohya_tensors, save_adapter, save_lora
from training.lora import Lora
from training.runs import build_stage, run_config
from training.stages import STAGES

DEMO = Path(__file__).resolve().parents[2] / "demo"
CHECKPOINT, MOTION = DEMO / "shapes_sd.safetensors", DEMO / "shapes_motion.safetensors"
CAPTIONS = ("a red fish swimming left", "a blue crab sleeping", "a green star swimming up")


def write_cache(folder: Path, frames: int, samples: int = 12) -> Path:
    """Random latents of 4x4 with real captions; the same on every call."""
    base = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT))
    generator = torch.Generator().manual_seed(3)
    meta = CacheMeta(frames=frames, height=32, width=32)
    null = base.encode_text([""])[0]
    with CacheWriter(folder, fingerprint=base.fingerprint, meta=meta, null_context=null) as writer:
        for i in range(samples):
            caption = CAPTIONS[i % len(CAPTIONS)]
            latents = torch.randn(frames, 4, 4, 4, generator=generator)
            writer.add(caption, latents, base.encode_text([caption])[0])
    return folder


def write_lora(path: Path) -> Path:
    """A LoRA of rank 4 that changes what the small world's UNet says; the same on every call."""
    base = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT))
    torch.manual_seed(0)
    lora = Lora(base.unet, 4, 4)
    with torch.no_grad():
        for parameter in lora.parameters().values():
            parameter.copy_(torch.randn(parameter.shape) * 0.05)
    return save_lora(path, kohya_tensors(lora.parameters(), 4), {})


def write_adapter(path: Path, kind: AdapterKind) -> Path:
    """An adapter that changes what the small world's UNet says, for hints of one channel if it is no
    ControlNet; the same on every call."""
    unet = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT)).unet
    torch.manual_seed(0)
    network = build_adapter(kind, unet, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():  # the layers that are silent at first
                parameter.normal_(std=0.3)
    save_adapter(path, published_tensors(kind, network.state_dict()), {})
    return path


def config_of(stage: str, folder: Path, **changes: Any) -> RunConfig:
    """A run of a few steps in `folder`, on `folder/data-<stage>`."""
    data = folder / f"data-{stage}"
    if not data.exists():
        write_cache(data, frames=1 if STAGES[stage].pictures else 3)
    values: dict[str, Any] = {
        "stage": stage,
        "name": f"tiny_{stage}",
        "out": folder / "run",
        "steps": 4,
        "base": {"variant": "shapes", "checkpoint": CHECKPOINT},
        "data": {"kind": "cached", "path": data},
        "lora": {"rank": 4, "alpha": 4},
        "optim": {"lr": 1e-3, "warmup": 0},
        "batch": {"size": 2},
        "save_every": 2,
        "log_every": 1,
    }
    if stage in ("video", "image-to-video", "control"):
        values["base"]["motion"] = MOTION
        values["base"]["lora"] = folder / "lora.safetensors"
    return run_config(deep_merge(values, changes), "the config")


def trainer_of(config: RunConfig) -> Trainer:
    accelerator = Accelerator(cpu=True)
    config.out.mkdir(parents=True, exist_ok=True)
    stage = build_stage(config, accelerator)
    return Trainer(config, stage, open_dataset(config.data, stage.base.fingerprint), accelerator)
