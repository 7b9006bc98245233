"""`bench`: without any file, on what the engine really does; and how arithmetic is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from training import arithmetic
from training.commands import bench
from training.config import ConfigError
from training.runs import parse_run
from training.weights import RandomWeights


def measured(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    """The runs that the result file holds after one more; the config names files that are not there."""
    path = tmp_path / "run.yaml"
    lines = ["stage: video", "name: x", f"out: {tmp_path / 'out'}", "steps: 1", "lora: {rank: 4, alpha: 4}"]
    lines += ["base: {variant: shapes, checkpoint: no.safetensors, motion: no.ckpt, lora: no.safetensors}"]
    lines += ["data: {kind: cached, path: nowhere}"]
    path.write_text("\n".join(lines), encoding="ascii")
    command = ["bench", "--config", str(path), "--size", "64", "64", "--frames", "2", "--steps", "1"]
    command += ["--device", "cpu", "--to", str(tmp_path / "bench.json"), *options]
    assert bench.main(command) == (0 if "--random-weights" in options else 1)
    result = tmp_path / "bench.json"
    return json.loads(result.read_text())["runs"] if result.exists() else []


def test_a_step_is_measured_without_any_file_and_results_are_kept_by_their_settings(tmp_path: Path):
    (one,) = measured(tmp_path, "--random-weights")
    assert one["settings"]["arm"] == "paper"
    assert one["clips_per_second"] == pytest.approx(1 / one["seconds_per_step"], rel=0.01)
    assert one["tflop_per_second"] == pytest.approx(one["tflop_per_step"] / one["seconds_per_step"], rel=0.05)
    assert 0 < one["share_of_peak"]
    assert 0.1 < one["peak_gib"]
    assert not (tmp_path / "out").exists()
    again, two = measured(tmp_path, "--random-weights", "--batch", "2", "--gradient-checkpointing")
    assert again == one
    # Twice the clips; the forward that is run again adds to them.
    assert 2.2 < two["tflop_per_step"] / one["tflop_per_step"] < 2.7
    assert [run["settings"]["batch"] for run in measured(tmp_path, "--random-weights")] == [2, 1]


def test_without_random_weights_the_files_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert measured(tmp_path) == []
    assert "got no.safetensors; expected an existing file" in capsys.readouterr().err


def test_sizes_that_the_network_does_not_take_are_refused(capsys: pytest.CaptureFixture[str]):
    arguments = ["bench", "--config", "sd15_video", "--random-weights", "--size", "72", "64"]
    assert bench.main(arguments) == 1
    assert "got --size [72, 64]; expected multiples of 64 pixels" in capsys.readouterr().err


def test_every_real_config_is_read_without_its_files():
    for name in ("sd15_video", "sd15_image_lora", "shapes_video", "shapes_image"):
        assert parse_run(bench.config_path(name), files=False).name == name
    with pytest.raises(ConfigError, match="expected an existing file"):
        parse_run(bench.config_path("sd15_video"))


def test_random_weights_are_the_same_every_time_and_leave_the_random_state_alone():
    weights = RandomWeights(parse_run(bench.config_path("shapes_video"), files=False))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = weights.base(), weights.base()
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(one.unet.parameters(), two.unet.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad
    lora, motion = weights.lora(one.unet), weights.motion()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(float(p.abs().max()) > 0 for p in lora.parameters().values())
    assert not any(p.requires_grad for p in [*one.unet.parameters(), *motion.parameters()])
    assert one.encode_text(["", "anything"]).shape == (2, 77, one.unet.config["cross_attention_dim"])


def test_attention_on_a_cpu_is_counted_forward_and_backward():
    b, heads, length, width = 2, 4, 64, 32
    q = torch.randn(b, heads, length, width, requires_grad=True)
    with arithmetic.counter() as counter:
        out = F.scaled_dot_product_attention(q, q, q)
    product = 2 * b * heads * length * length * width
    assert counter.get_total_flops() == 2 * product
    with arithmetic.counter() as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 5 * product
