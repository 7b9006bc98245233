"""torch.compile of the UNet, set up as the host's own node does: no variant may use another's code."""

from __future__ import annotations

from pathlib import Path

from support.scenarios import scenario


def test_plain_then_motion_and_back(host, tmp_path: Path) -> None:
    found, _ = scenario(host.path, tmp_path, "compiled")
    assert found["apart"] > 0.01  # the variants differ, so one in another's place would show
    assert {name for name, error in found["errors"] if error > 1e-5} == set()
    graphs = found["graphs"]
    assert graphs[0] == 1  # the whole UNet in one graph
    assert graphs[-3:] == [graphs[-1]] * 3  # known variants are not compiled again
