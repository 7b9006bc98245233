"""One optimizer step of a stage at the size of Stable Diffusion 1.5, on seeded random weights, on the CPU.

    python tests/support/real_size_step.py image|video|encoder|controlnet|t2i_adapter FOLDER

Adapters are seeded files in their released layouts.
Prints what came of it as one line of JSON. A process of its own gives the memory back.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    "image": "sd15_image_lora",
    "video": "sd15_video",
    "encoder": "sd15_i2v",
    "controlnet": "sd15_controlnet_lora",
    "t2i_adapter": "sd15_t2i_adapter_lora",
}


def digest(tensors: Iterable[Any]) -> str:
    out = hashlib.sha256()
    for tensor in tensors:
        out.update(tensor.detach().contiguous().numpy().data)
    return out.hexdigest()


def write_adapter(kind: str, folder: Path) -> Path:
    """A ControlNet or T2I-Adapter as released, with seeded numbers."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import seeded_files

    write = {"controlnet": seeded_files.write_controlnet, "t2i_adapter": seeded_files.write_t2i_adapter}
    return write[kind](folder / f"{kind}.safetensors")


def main(stage_name: str, folder: Path) -> dict[str, Any]:
    from accelerate import Accelerator

    from training.engine import Trainer
    from training.machine import peak_memory
    from training.metrics import LogWindow
    from training.runs import build_stage, export_weights, parse_run
    from training.step_speed import RandomLatents
    from training.weights import RandomWeights

    name = CONFIGS[stage_name]
    changes = ["gradient_checkpointing=true", "optim.warmup=0", "optim.lr=1e-4", f"out={folder / 'run'}"]
    changes += ["batch={size: 1}", "samples.prompts=[]"]
    if stage_name in ("controlnet", "t2i_adapter"):
        changes += [f"control.adapter={write_adapter(stage_name, folder)}"]
    config = parse_run(ROOT / "training" / "configs" / f"{name}.yaml", changes, files=False)
    accelerator = Accelerator(cpu=True)
    stage = build_stage(config, accelerator, RandomWeights(config))
    frames = 1 if stage_name == "image" else 16
    trainer = Trainer(config, stage, RandomLatents(frames, (64, 64), 768), accelerator)
    trainer.tflop = 1.0  # no pass that counts
    trained = {id(p) for p in trainer.params.values()}
    named = stage.network.named_parameters()
    frozen = [p for name, p in named if id(p) not in trained and ".target." not in name]
    frozen += getattr(stage, "phi", stage.network.unet.conv_in).parameters()
    before, base = {k: digest([p]) for k, p in trainer.params.items()}, digest(frozen)
    window, began = LogWindow(config.solver.steps), time.monotonic()
    trainer.update(iter(trainer.loader), window)
    seconds = time.monotonic() - began
    changed = [k for k, p in trainer.params.items() if digest([p]) != before[k]]
    state = trainer.state()
    exported = export_weights(config, state.online, state, folder)
    return {
        "loss": window.row(accelerator.gather)["loss"],
        "norm": window.norm,
        "seconds": round(seconds, 1),
        "lora_layers": len(stage.network.lora.layers),  # type: ignore[union-attr]
        "trained": sorted(trainer.params),
        "changed": sorted(changed),
        "base_unchanged": digest(frozen) == base,
        "exported": [str(path) for path in exported],
        "peak_gib": round(peak_memory("cpu"), 2),
    }


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
