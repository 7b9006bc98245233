"""Stage 1: the judge's network, which tells bodies."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...world.clips import FRAMES, draw, sample_clips
from ...world.judge import BodyNet
from ..loop import Recipe, load_ema, train

RECIPE = Recipe(steps=1200, batch=64, lr=2e-3, ema=0.99)


def train_judge(out: Path, compile: bool = False, recipe: Recipe = RECIPE) -> None:
    """Train the judge to tell the body in single frames; `compile` makes no difference."""
    torch.manual_seed(recipe.seed)
    net = BodyNet()

    def loss_of(generator: torch.Generator) -> Tensor:
        x, body = imperfect_pictures(recipe.batch, generator)
        return F.cross_entropy(net(x), body)

    train("judge", recipe, net, loss_of, out)


def imperfect_pictures(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Frames as a decoder may give them, some blurred, some noisy: (n, 3, 64, 64), bodies (n,)."""
    clips = sample_clips(n, generator)
    x = draw(clips, [int(torch.randint(FRAMES, (), generator=generator))])[:, 0]
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.4, blurred, x)
    noise = torch.randn(x.shape, generator=generator) * 0.08 * torch.rand(n, 1, 1, 1, generator=generator)
    return (x + noise).clamp(0, 1), clips.body


def load_judge(out: Path) -> BodyNet:
    """The trained judge: its moving average, in evaluation mode."""
    net = BodyNet()
    net.load_state_dict(load_ema(out / "judge.pt"))
    return net.eval()
