"""One optimizer step of a stage at the size of Stable Diffusion 1.5, on seeded random weights, on the CPU.

    python tests/support/real_size_step.py image|video FOLDER

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


def digest(tensors: Iterable[Any]) -> str:
    out = hashlib.sha256()
    for tensor in tensors:
        out.update(tensor.detach().contiguous().numpy().data)
    return out.hexdigest()


def main(stage_name: str, folder: Path) -> dict[str, Any]:
    from accelerate import Accelerator

    from benchmarks.machine import peak_memory
    from training.commands.bench import RandomLatents
    from training.commands.export import export_weights
    from training.commands.train import build_stage
    from training.config import parse_run
    from training.engine import Trainer
    from training.metrics import Gathered
    from training.weights import RandomWeights

    name = {"image": "sd15_image_lora", "video": "sd15_video"}[stage_name]
    changes = ["gradient_checkpointing=true", "optim.warmup=0", "optim.rate=1e-4", f"out={folder / 'run'}"]
    changes += ["batch={size: 1}", "samples.prompts=[]"]
    config = parse_run(ROOT / "training" / "configs" / f"{name}.yaml", changes, files=False)
    accelerator = Accelerator(cpu=True)
    stage = build_stage(config, accelerator, RandomWeights(config))
    frames = 16 if stage_name == "video" else 1
    trainer = Trainer(config, stage, RandomLatents(frames, (64, 64), 768), accelerator)
    trainer.tflop = 1.0  # no pass that counts
    trained = {id(p) for p in trainer.params.values()}
    frozen = [p for p in stage.network.parameters() if id(p) not in trained]
    frozen += getattr(stage, "phi", stage.network.unet.conv_in).parameters()
    before, base = {k: digest([p]) for k, p in trainer.params.items()}, digest(frozen)
    gathered, began = Gathered(config.solver.steps), time.monotonic()
    trainer.update(iter(trainer.loader), gathered)
    seconds = time.monotonic() - began
    changed = [k for k, p in trainer.params.items() if digest([p]) != before[k]]
    state = trainer.state()
    exported = export_weights(config, state.online, state, folder)
    return {
        "loss": gathered.row(accelerator.gather)["loss"],
        "norm": gathered.norm,
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
