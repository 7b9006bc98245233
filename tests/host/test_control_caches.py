"""A control that is cut to a window brings nothing along that was computed from other hints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.controls import applied, controlnet, hints_seen, numbered, t2i_adapter
from support.studio import Studio
from torch import Tensor

CONTROLS = {"controlnet": controlnet, "t2i_adapter": t2i_adapter}
STANDARD_33 = [list(range(a, a + 16)) for a in (0, 8, 17)]


def keep_by_size(control: Any) -> None:
    """Make this CONTROL_NET keep its prepared hints in dicts, one of each size, as newer hosts may."""
    older = type(control)

    class Newer(older):
        def get_control(self, x_noisy: Tensor, *args: Any, **kw: Any) -> Any:
            size = tuple(x_noisy.shape[-2:])
            self.cond_hint, self.control_input = self.cond_hints.get(size), self.control_inputs.get(size)
            result = super().get_control(x_noisy, *args, **kw)
            self.cond_hints[size], self.control_inputs[size] = self.cond_hint, self.control_input
            self.cond_hint = self.control_input = None
            return result

    control.__class__ = Newer
    control.cond_hints, control.control_inputs = {}, {}


@pytest.mark.parametrize("kind", CONTROLS)
def test_windows_get_their_own_hints_where_the_host_keeps_them_by_size(studio: Studio, kind: str) -> None:
    given = {"context_length": 16, "overlap": 4, "schedule": "standard", "fuse": "flat", "freenoise": False}
    (model,) = studio.comfy.run("AnimateLCM_LongVideo", model=studio.video(), **given)
    control = CONTROLS[kind](studio)

    def run(newer: bool) -> tuple[Tensor, list[list[int]]]:
        positive, _ = applied(studio, control, numbered(33))
        if newer:
            keep_by_size(positive[0][1]["control"])
        with hints_seen(control) as seen:
            clip = studio.sample(model, 33, steps=1, positive=positive)
        return clip, seen

    expected, hints = run(newer=False)
    clip, newer_hints = run(newer=True)
    assert newer_hints == hints == STANDARD_33
    assert torch.equal(clip, expected)


def test_what_was_computed_is_left_behind_and_what_was_given_stays(studio: Studio) -> None:
    control = controlnet(studio).set_cond_hint(numbered(9).movedim(-1, 1))
    computed = {"cond_hints": {(8, 8): torch.ones(1)}, "control_inputs": {(8, 8): {"input": [None]}}}
    computed |= {"cond_hint": torch.ones(9), "control_input": {"input": [torch.ones(1)]}, "cond_hint_8": None}
    computed |= {"cond_hint_small": torch.ones(9), "extra_concat": [torch.ones(1)]}
    for name, value in computed.items():
        setattr(control, name, value)
    control.control_input_channels = 3
    made = studio.host("patches.control_hints").cut_control(control, [3, 4], 9)
    got = {name: getattr(made, name) for name in computed}
    empty = dict.fromkeys(computed) | {"cond_hints": {}, "control_inputs": {}}
    assert got == empty
    assert made.control_input_channels == 3
    assert len(made.cond_hint_original) == 2
    assert len(control.cond_hints) == len(control.control_inputs) == 1
    assert control.cond_hint is computed["cond_hint"]
