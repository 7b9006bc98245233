"""FVD: the I3D network on seeded random weights, features of files, draws. No downloaded weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.support.data_files import video_folder
from training.config import ConfigError
from training.data.errors import DataError
from training.eval import fvd as fvd_module
from training.eval import i3d
from training.eval.fvd import Real, fvd, real_features


@pytest.fixture(scope="module")
def i3d_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that keep the size of what goes through them, without BatchNorm's counters."""
    torch.manual_seed(0)
    net = i3d.I3D()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)
    path = tmp_path_factory.mktemp("i3d") / "i3d.safetensors"
    save_file({k: v for k, v in net.state_dict().items() if "num_batches" not in k}, path)
    return path


def test_i3d_has_the_published_names_and_sizes(i3d_file: Path, tmp_path: Path):
    with torch.device("meta"):
        net = i3d.I3D()
    names = {k for k in net.state_dict() if "num_batches" not in k}
    units = 3 + 6 * 9  # the stem, and six in each of nine blocks
    assert len(names) == 5 * units + 2
    assert {"Conv3d_1a_7x7.conv3d.weight", "Mixed_4f.b2b.bn.running_var", "logits.conv3d.bias"} <= names
    assert sum(p.numel() for p in net.parameters()) == 12_697_264
    wrong = tmp_path / "wrong.safetensors"
    save_file({"logits.conv3d.bias": torch.zeros(600)}, wrong)
    with pytest.raises(ConfigError, match=r"got --i3d .*wrong.safetensors"):
        i3d.load_i3d(wrong)


def test_i3d_gives_400_logits_alike_in_any_batch(i3d_file: Path):
    net = i3d.load_i3d(i3d_file)
    x = torch.rand(2, 3, 9, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    both = net(x)
    assert both.shape == (2, 400)
    assert not both.requires_grad
    assert both.std() > 0.01
    assert torch.allclose(net(x[:1]), both[:1], atol=1e-4)
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_padding_puts_the_odd_element_after():
    """TensorFlow's rule: 7 wide with stride 2 over 16 needs 5 more, 2 before and 3 after."""
    padded = i3d.same(torch.ones(1, 1, 16, 16, 3), (7, 1, 3), (2, 1, 2))
    assert padded.shape == (1, 1, 21, 16, 5)
    assert padded[0, 0, :, 0, 2].tolist() == [0] * 2 + [1] * 16 + [0] * 3
    assert padded[0, 0, 5, 0].tolist() == [0, 1, 1, 1, 0]


def test_fvd_of_files(i3d_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Unreadable videos are left out; what was computed is kept."""
    monkeypatch.setattr(fvd_module, "SIZE", (32, 32))
    folder = video_folder(tmp_path / "videos", 3)
    (folder / "broken.mp4").write_bytes(b"no video")
    net = i3d.load_i3d(i3d_file)
    features = real_features(net, Real(folder), 9, tmp_path / "cache")
    assert features.shape == (3, 400)
    monkeypatch.setattr(fvd_module, "logits", None)
    assert torch.equal(real_features(net, Real(folder), 9, tmp_path / "cache"), features)
    with pytest.raises(DataError, match="lower --real-stride"):
        real_features(net, Real(folder, stride=9), 9, tmp_path / "cache")


def test_fvd_repeats_its_draws_and_gives_a_floor():
    generator = torch.Generator().manual_seed(0)
    real, ours = torch.randn(60, 5, generator=generator), torch.randn(30, 5, generator=generator) + 3
    out = fvd(ours, real, clips=20)
    assert out["fvd_clips"] == 20
    assert len(out["fvd_draws"]) == 5
    assert out["fvd"] == pytest.approx(sum(out["fvd_draws"]) / 5, abs=0.01)
    assert out["fvd"] > 40 > 5 > out["fvd_real_versus_real"]
    assert fvd(real, real) == {"fvd": 0.0, "fvd_clips": 60}
