"""Whether a checkpoint fits what it is loaded into: names, shapes, types and numbers, before any is copied.

The fused optimizer writes to addresses that follow from the parameters' shapes, whatever its state has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .checkpoint import State
from .checkpoint_about import OPTIMIZER, CheckpointError

MOMENTS = ("exp_avg", "exp_avg_sq")
SAME = ("params", "factor", "betas", "eps", "weight_decay", "amsgrad", "maximize")
"""Settings of a group of parameters that a resumed run must have had."""
EARLY = 5  # updates that may all have been left out before a run ends, so that the optimizer has no state


def all_finite(tensors: Mapping[str, Tensor]) -> Tensor:
    """Whether every number is finite, as a tensor on their device: nothing is waited for."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for value in tensors.values():
        if value.numel():
            groups.setdefault((value.device, value.dtype), []).append(value.detach())
    norms: list[Tensor] = []
    for alike in groups.values():
        norms += torch._foreach_norm(alike, float("inf"))  # type: ignore[attr-defined]
    if not norms:
        return torch.tensor(True)
    return torch.stack([norm.float().to(norms[0].device) for norm in norms]).isfinite().all()


def check_tensors(file: str, got: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Compare what was read from `file` with what it is loaded into. Raises CheckpointError."""
    lacking, extra = sorted(into.keys() - got.keys()), sorted(got.keys() - into.keys())
    if lacking or extra:
        raise CheckpointError(
            f"{file}: got {len(extra)} tensors that the run has not{_few(extra)}; {len(lacking)} of the run "
            f"are missing{_few(lacking)}"
        )
    for name, value in into.items():
        check_tensor(f"{file}: {name}", got[name], value)


def check_tensor(name: str, got: Any, like: Tensor) -> None:
    """Compare one value with the tensor that it is copied to. Raises CheckpointError."""
    if not isinstance(got, Tensor) or got.layout != torch.strided or got.device.type != "cpu":
        raise CheckpointError(f"{name}: got {type(got).__name__}, expected a plain tensor")
    if got.shape != like.shape or got.dtype != like.dtype:
        raise CheckpointError(
            f"{name}: got {tuple(got.shape)[:8]} {got.dtype}, expected {tuple(like.shape)} {like.dtype}"
        )
    if not bool(torch.isfinite(got).all()):
        raise CheckpointError(f"{name}: got numbers that are not finite")


def fitted_optimizer(state: State, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's part of `state`, compared and copied into tensors like the parameters.

    A tensor of the right shape may still lie in memory otherwise than its parameter, or share memory with
    another. Raises CheckpointError.
    """
    own, got = optimizer.state_dict(), state.optimizer
    if not isinstance(got, dict) or not isinstance(got.get("state"), dict):
        raise CheckpointError(f"{OPTIMIZER}: got {type(got).__name__}, expected the state of an optimizer")
    _check_groups(got.get("param_groups"), own["param_groups"])
    params = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = got["state"]
    if not moments and state.step < EARLY:
        return {"state": {}, "param_groups": own["param_groups"]}
    if set(moments) != set(range(len(params))):
        raise CheckpointError(
            f"{OPTIMIZER}: got the state of {len(moments)} parameters, expected that of the {len(params)} of "
            "the run"
        )
    copied = {i: _moments(i, moments[i], parameter, state.step) for i, parameter in enumerate(params)}
    return {"state": copied, "param_groups": own["param_groups"]}


def _check_groups(got: Any, own: list[dict[str, Any]]) -> None:
    if not isinstance(got, list) or len(got) != len(own) or not all(isinstance(g, dict) for g in got):
        raise CheckpointError(f"{OPTIMIZER}: got other param_groups, expected {len(own)} of them")
    for theirs, mine in zip(got, own, strict=True):
        for key in SAME:
            if not _same(theirs.get(key), mine[key]):
                raise CheckpointError(f"{OPTIMIZER}: got param_groups with another `{key}` than the run's")


def _same(got: Any, mine: Any) -> bool:
    if isinstance(mine, (list, tuple)):
        return isinstance(got, (list, tuple)) and len(got) == len(mine) and all(map(_same, got, mine))
    return isinstance(got, (int, float)) and got == mine


def _moments(i: int, got: Any, parameter: Tensor, step: int) -> dict[str, Tensor]:
    """The optimizer's state of parameter `i`, on its device and in its layout."""
    name = f"{OPTIMIZER}: parameter {i}"
    if not isinstance(got, dict) or set(got) != {"step", *MOMENTS}:
        raise CheckpointError(f"{name}: got other names than step, {', '.join(MOMENTS)}")
    check_tensor(f"{name}, step", got["step"], torch.zeros((), dtype=torch.float32))
    taken = float(got["step"])
    if taken != int(taken) or not 0 < taken <= step:
        raise CheckpointError(f"{name}: got step {taken:g}, expected a whole number from 1 to {step}")
    out = {"step": torch.zeros((), dtype=torch.float32, device=parameter.device).copy_(got["step"])}
    for key in MOMENTS:
        check_tensor(f"{name}, {key}", got[key], parameter)
        out[key] = torch.zeros_like(parameter.detach(), memory_format=torch.preserve_format).copy_(got[key])
    if bool((out["exp_avg_sq"] < 0).any()):
        raise CheckpointError(f"{name}: got a negative exp_avg_sq, a mean of squares")
    return out


def _few(names: list[str]) -> str:
    return f" ({', '.join(ascii(name)[1:-1][:60] for name in names[:3])})" if names else ""
