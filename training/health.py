"""Whether a run's numbers are finite: gradients before an update, weights after it, all before it is saved.

What an update made of the weights is read one update later, together with the norm of the gradients: the
device is waited for once an update, as without it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint
from .checkpoint_fit import EARLY, all_finite

BAD_UPDATES = EARLY  # left out in a row before a run gives up
FEW = 4  # a run in which fewer than one update of so many counted has trained nothing worth keeping


class Health:
    """Counts updates that were left out. Raises FloatingPointError, naming the newest whole checkpoint."""

    def __init__(self, out: Path, params: Mapping[str, Tensor]):
        self.out, self.params = out, params
        self.left_out = 0  # updates of the whole run
        self.in_a_row = 0
        self._finite: Tensor | None = None  # of the weights after the last update, on their device

    def look_at(self, norm: Tensor, step: int) -> tuple[float, bool]:
        """The norm of the gradients as a number, and whether they can be used."""
        last = torch.ones_like(norm) if self._finite is None else self._finite.to(norm)
        value, finite = torch.stack([norm, last]).tolist()
        self._finite = None
        if not finite:
            raise self._error(f"got weights that are not finite after update {step}; expected finite ones.")
        if value == value and abs(value) != float("inf"):
            self.in_a_row = 0
            return value, True
        self.in_a_row += 1
        self.left_out += 1
        if self.in_a_row >= BAD_UPDATES:
            raise self._error(
                f"got {self.in_a_row} updates in a row that are not finite, the last at {step}; "
                "expected finite gradients."
            )
        return value, False

    def updated(self) -> None:
        """Look at the weights that an update made; `look_at` or `check_state` tells."""
        self._finite = all_finite(self.params)

    def check_state(self, state: checkpoint.State) -> None:
        """Every number that a checkpoint would hold."""
        for name in ("online", "average", "extra"):
            if not bool(all_finite(getattr(state, name))):
                raise self._error(f"got numbers in {name} at step {state.step} that are not finite.")
        for moments in state.optimizer["state"].values():
            if not bool(all_finite(moments)):
                raise self._error(f"got an optimizer's state at step {state.step} that is not finite.")

    def account(self, steps: int) -> None:
        """Tell at a run's end how many updates were left out; an error if nearly all were."""
        if not self.left_out:
            return
        told = f"{self.left_out} of {steps} updates were left out: their gradients were not finite"
        if FEW * (steps - self.left_out) < steps:
            raise FloatingPointError(
                f"got a run in which {told}; expected most of them to count. Nothing is exported: lower "
                "optim.lr, look at the data, and start anew in another `out`."
            )
        print(f"{told}. Lower optim.lr or look at the data if that is many.", file=sys.stderr)

    def _error(self, got: str) -> FloatingPointError:
        saved = checkpoint.list_checkpoints(self.out)
        last = f"The last good checkpoint is {saved[-1]}" if saved else "No checkpoint was written"
        return FloatingPointError(f"{got} {last}: lower optim.lr or look at the data, and start again.")
