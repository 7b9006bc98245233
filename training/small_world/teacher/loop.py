"""A small training loop: seeded, resumable, logged. Every stage of the small world runs through it.

Step k draws everything it needs from a generator seeded by (seed, k), so a run that was cut and resumed makes
the same batches as one that was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor, nn

from animatelcm_core.atomic import replacing

from ...ema import ema_update
from ...lr_schedule import lr_at
from ...randomness import sample_generator


@dataclass(frozen=True)
class Recipe:
    """steps: optimizer steps; batch: samples a step; lr: peak learning rate, cosine to a 20th of it."""

    steps: int
    batch: int
    lr: float
    ema: float = 0.995
    warmup: int = 100
    max_grad_norm: float = 1.0
    seed: int = 0
    save_every: int = 100


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of `model` that require a gradient, by name."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def optimizer_of(params: Mapping[str, nn.Parameter], recipe: Recipe) -> torch.optim.AdamW:
    return torch.optim.AdamW(params.values(), lr=recipe.lr, betas=(0.9, 0.99), weight_decay=1e-4)


def load_ema(path: Path) -> dict[str, Tensor]:
    """The moving average of a file of `train`."""
    return torch.load(path, weights_only=True)["ema"]


def save_state(
    path: Path,
    step: int,
    params: Mapping[str, Tensor],
    ema: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """What `train` resumes from."""
    current = {n: p.detach() for n, p in params.items()}
    state = {"step": step, "params": current, "ema": dict(ema), "optimizer": optimizer.state_dict()}
    with replacing(path) as file:
        torch.save(state, file)


def load_state(
    path: Path, params: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], int]:
    """Read parameters and optimizer back into place; the moving average and the number of steps done."""
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for n, p in params.items():
            p.copy_(state["params"][n])
    optimizer.load_state_dict(state["optimizer"])
    return state["ema"], state["step"]


class Log:
    """Writes and prints a line every 25 steps and after the last: mean loss since the line before, speed."""

    def __init__(self, file: TextIO, name: str, recipe: Recipe, start: int):
        self.file, self.name, self.steps, self.start = file, name, recipe.steps, start
        self.began, self.losses = time.monotonic(), list[float]()
        file.write(json.dumps({"name": name, "from": start, **asdict(recipe)}) + "\n")

    def add(self, done: int, loss: float, norm: float) -> None:
        self.losses.append(loss)
        if done % 25 and done < self.steps:
            return
        each = (time.monotonic() - self.began) / (done - self.start)
        mean = sum(self.losses) / len(self.losses)
        self.losses.clear()
        self.file.write(json.dumps({"step": done, "loss": mean, "norm": norm, "seconds": each}) + "\n")
        self.file.flush()
        left = each * (self.steps - done) / 60
        print(f"{self.name} {done}/{self.steps} loss {mean:.4f} {each:.2f} s/step {left:.0f} min left")


def train(
    name: str,
    recipe: Recipe,
    model: nn.Module,
    loss_of: Callable[[torch.Generator], Tensor],
    out: Path,
) -> dict[str, Tensor]:
    """Train the parameters of `model` that require a gradient; returns their moving average by name.

    loss_of(generator): scalar loss of one batch. Saves to `out/name.pt` and resumes from it; appends to
    `out/name.jsonl`. A loss that is not finite raises FloatingPointError and leaves the last good file.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.pt"
    params = trainable(model)
    optimizer = optimizer_of(params, recipe)
    ema, start = {n: p.detach().clone() for n, p in params.items()}, 0
    if path.exists():
        ema, start = load_state(path, params, optimizer)
    with (out / f"{name}.jsonl").open("a", encoding="ascii") as file:
        log = Log(file, name, recipe, start)
        for step in range(start, recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = lr_at(recipe.lr, recipe.warmup, step, recipe.steps, cosine=True)
            loss = loss_of(sample_generator(recipe.seed, step))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(params.values(), recipe.max_grad_norm)
            if not (torch.isfinite(loss) and torch.isfinite(norm)):
                raise FloatingPointError(
                    f"{name}: got loss {loss.item()} at step {step}; expected a finite one. The last good "
                    f"state is {path}"
                )
            optimizer.step()
            # The average follows closely at first, when it is still mostly the random start.
            decay = min(recipe.ema, (1 + step) / (10 + step))
            ema_update((ema[n] for n in params), (p.detach() for p in params.values()), decay)
            done = step + 1
            log.add(done, loss.item(), float(norm))
            if done % recipe.save_every == 0 or done == recipe.steps:
                save_state(path, done, params, ema, optimizer)
    return ema
