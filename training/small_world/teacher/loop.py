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

import torch
from torch import Tensor, nn

from animatelcm_core.atomic import replacing

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


def save_atomic(payload: object, path: Path) -> None:
    with replacing(path) as file:
        torch.save(payload, file)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
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
    save_atomic(
        {"step": step, "params": current, "ema": dict(ema), "optimizer": optimizer.state_dict()}, path
    )


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
    ema = {n: p.detach().clone() for n, p in params.items()}
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        with torch.no_grad():
            for n, p in params.items():
                p.copy_(state["params"][n])
        ema, start = state["ema"], state["step"]
        optimizer.load_state_dict(state["optimizer"])
    log = (out / f"{name}.jsonl").open("a", encoding="ascii")
    log.write(json.dumps({"name": name, "from": start, **asdict(recipe)}) + "\n")

    began, losses = time.monotonic(), []
    for step in range(start, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(recipe.lr, recipe.warmup, step, recipe.steps, cosine=True)
        loss = loss_of(sample_generator(recipe.seed, step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(params.values(), recipe.max_grad_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise FloatingPointError(
                f"{name}: got loss {loss.item()} at step {step}; the last good is {path}"
            )
        optimizer.step()
        decay = min(recipe.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for n, p in params.items():
                ema[n].lerp_(p, 1 - decay)
        losses.append(loss.item())
        done = step + 1
        if done % 25 == 0 or done == recipe.steps:
            each = (time.monotonic() - began) / (done - start)
            row = {"step": done, "loss": sum(losses) / len(losses), "norm": float(norm), "seconds": each}
            losses.clear()
            log.write(json.dumps(row) + "\n")
            log.flush()
            left = each * (recipe.steps - done) / 60
            print(
                f"{name} {done}/{recipe.steps} loss {row['loss']:.4f} {each:.2f} s/step {left:.0f} min left"
            )
        if done % recipe.save_every == 0 or done == recipe.steps:
            save_state(path, done, params, ema, optimizer)
    log.close()
    return ema
