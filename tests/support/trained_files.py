"""What the trainer exports and what it computes itself: `python -m tests.support.trained_files FOLDER`.

Writes lora.safetensors, motion.safetensors, and sampled.safetensors with `noise`, `fresh` and the `latents`
the online network makes of them in two steps. For each kind of adapter <kind>.safetensors as it was before,
<kind>_lora.safetensors and <kind>_merged.safetensors as the trainer exports them, and in sampled.safetensors
`hints` and the latents `<kind>`. Weights are halves already, so files lose nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from animatelcm_core.formats import AdapterKind
from animatelcm_core.schedule import SCHEDULES
from training.export import kohya_tensors, save_lora
from training.lora import Lora
from training.roles import Hints
from training.runs import export_run, export_weights
from training.samplers import lcm

from .small_run import config_of, trainer_of, write_adapter

CAPTION = "a red fish swimming left"


def main(folder: Path) -> None:
    generator = torch.Generator().manual_seed(8)
    image = trainer_of(config_of("image", folder, out=folder / "image"))
    assert isinstance(image.stage.lora, Lora)  # type: ignore[attr-defined]
    randomise(image.params, 0.05, generator)
    save_lora(folder / "lora.safetensors", kohya_tensors(image.params, 4), {})
    video = trainer_of(config_of("video", folder, out=folder / "video"))
    randomise(video.params, 0.02, generator)
    video.save()
    from training.config import as_yaml

    (video.config.out / "config.yaml").write_text(as_yaml(video.config), encoding="utf-8")
    (motion,) = export_run(video.config.out, folder / "export")
    motion.rename(folder / "motion.safetensors")
    noise, fresh = torch.randn(2, 1, 16, 4, 8, 8, generator=generator)
    stage = video.stage
    context = stage.base.encode_text([CAPTION])

    def eps(x: torch.Tensor, t: int, context: torch.Tensor) -> torch.Tensor:
        return stage.eps(x, torch.tensor([t]), context, stage.network, torch.no_grad)

    with stage.network.acting(stage.student(), 16):
        latents = lcm(eps, noise, context, SCHEDULES["text to video"], 2, [fresh])
    found = {"noise": noise[0], "fresh": fresh[0], "latents": latents[0]}
    found["hints"] = torch.rand(16, 3, 64, 64, generator=generator)
    for kind in ("controlnet", "t2i_adapter"):
        found[kind] = controlled(folder, kind, found, generator)
    save_file(found, folder / "sampled.safetensors")


def controlled(
    folder: Path, kind: AdapterKind, given: dict[str, Tensor], generator: torch.Generator
) -> Tensor:
    """Latents of a clip that an adapter with a LoRA leads; writes the adapter and what is exported of it."""
    adapter = write_adapter(folder / f"{kind}.safetensors", kind)
    section = {"kind": kind, "adapter": adapter}
    trainer = trainer_of(config_of("control", folder, out=folder / kind, control=section))
    randomise(trainer.params, 0.05, generator)
    for path in export_weights(trainer.config, trainer.params, trainer.state(), folder / "export"):
        end = "lora" if path.stem.endswith("_lora") else "merged"
        path.rename(folder / f"{kind}_{end}.safetensors")
    stage = trainer.stage
    context = stage.base.encode_text([CAPTION])

    def eps(x: Tensor, t: int, context: Tensor) -> Tensor:
        return stage.eps(x, torch.tensor([t]), context, stage.network, torch.no_grad)

    noise, fresh = given["noise"][None], given["fresh"][None]
    with stage.network.acting(stage.student(), 16, Hints(given["hints"])):
        return lcm(eps, noise, context, SCHEDULES["text to video"], 2, [fresh])[0]


@torch.no_grad()
def randomise(parameters: dict[str, torch.nn.Parameter], scale: float, generator: torch.Generator) -> None:
    """Move every parameter a little, then round it to half precision."""
    for parameter in parameters.values():
        change = scale * torch.randn(parameter.shape, generator=generator)
        parameter.copy_((parameter + change).half().float())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
