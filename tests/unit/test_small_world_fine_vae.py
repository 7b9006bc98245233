"""A VAE of its own: fine-tuned without touching the latents, read in place of the checkpoint's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.base import load_base
from training.config import BaseConfig, ConfigError
from training.small_world.experiments import fine_vae
from training.small_world.teacher.loop import Recipe

DEMO = Path(__file__).resolve().parents[2] / "demo"
CHECKPOINT = DEMO / "shapes_sd.safetensors"


def test_the_decoder_learns_and_latents_stay(tmp_path: Path) -> None:
    file = fine_vae.train_fine_decoder(
        CHECKPOINT, tmp_path / "run", tmp_path / "vae.safetensors", Recipe(steps=1, batch=4, lr=1e-3)
    )
    before, after = load_file(CHECKPOINT), load_file(file)
    changed = {
        key for key, value in after.items() if not torch.equal(value, before[f"first_stage_model.{key}"])
    }
    assert changed
    assert all(key.startswith(("decoder.", "post_quant_conv.")) for key in changed)
    plain = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT))
    fine = load_base(BaseConfig(variant="shapes", checkpoint=CHECKPOINT, vae=file))
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    latents = plain.encode_pixels(pictures)
    torch.testing.assert_close(fine.encode_pixels(pictures), latents, rtol=0, atol=0)
    assert not torch.equal(fine.decode(latents), plain.decode(latents))


def test_another_file_is_no_vae() -> None:
    lora = DEMO / "shapes_lcm_lora.safetensors"
    config = BaseConfig(variant="shapes", checkpoint=CHECKPOINT, vae=lora)
    with pytest.raises(ConfigError, match=r"got base\.vae shapes_lcm_lora.*expected a VAE file"):
        load_base(config)
