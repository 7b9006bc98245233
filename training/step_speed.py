"""Measures one optimizer step on random latents: speed, memory, share of peak arithmetic."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from .arithmetic import matmul_rate, wait_for
from .config import RunConfig, SampleConfig
from .data.sample import Dataset, Sample
from .engine import Trainer
from .machine import peak_memory
from .metrics import LogWindow
from .runs import build_stage
from .weights import Weights


@dataclass(frozen=True)
class RandomLatents(Dataset):
    """Noise in place of encoded clips: the arithmetic is the same."""

    frames: int
    size: tuple[int, int]  # of the pictures: height, width
    width: int  # of the text context

    def __len__(self) -> int:
        return 4096

    def load(self, index: int, generator: torch.Generator) -> Sample:
        height, width = (side // 8 for side in self.size)
        latents = torch.randn(self.frames, 4, height, width, generator=generator)
        return Sample(index, "", latents=latents, context=torch.randn(77, self.width, generator=generator))


def measure_step(
    config: RunConfig,
    weights: Weights,
    accelerator: Accelerator,
    frames: int,
    size: tuple[int, int],
    steps: int,
) -> dict[str, Any]:
    """One warm-up and then `steps` optimizer steps of `config`'s stage. Counts all processes together.

    frames, size (height, width in pixels): of a clip.
    """
    stage = build_stage(config, accelerator, weights)
    width = stage.base.unet.config["cross_attention_dim"]
    device = accelerator.device
    with tempfile.TemporaryDirectory() as out:  # empty: there is nothing to resume
        config = config.model_copy(update={"out": Path(out), "samples": SampleConfig()})
        trainer = Trainer(config, stage, RandomLatents(frames, size, width), accelerator)
        batches, window = iter(trainer.loader), LogWindow(config.solver.steps)
        trainer.update(batches, window)  # counts, and loads libraries
        wait_for(device)
        began = time.perf_counter()
        for _ in range(steps):
            trainer.update(batches, window)
        wait_for(device)
        seconds = (time.perf_counter() - began) / steps
    memory = peak_memory(device.type)
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    clips = config.batch.size * config.batch.accumulate * accelerator.num_processes
    return {
        "seconds_per_step": round(seconds, 4),
        "clips_per_second": round(clips / seconds, 4),
        "peak_gib": round(memory, 2),
        **_shares(trainer.tflop, seconds, matmul_rate(device, dtype) * accelerator.num_processes),
        "loss": window.row(accelerator.gather)["loss"],
    }


def _shares(tflop: float, seconds: float, peak: float) -> dict[str, float]:
    rate = tflop / seconds
    return {
        "tflop_per_step": round(tflop, 4),
        "tflop_per_second": round(rate, 4),
        "tflop_per_second_of_a_matrix_product": round(peak, 4),
        "share_of_peak": round(rate / peak, 4),
    }
