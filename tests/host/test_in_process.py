"""ComfyUI in the test's own process is the host's, and holds the pack."""

from __future__ import annotations

from pathlib import Path


def test_modules_are_the_hosts(comfy, host):
    for name in ("nodes", "utils.extra_config", "comfy.samplers"):
        assert Path(str(comfy.module(name).__file__)).is_relative_to(host.path)
    assert comfy.module("folder_paths").models_dir == str(comfy.base / "models")
    assert comfy.module("comfy.model_management").get_torch_device().type == "cpu"


def test_the_pack_is_loaded_from_its_place(comfy):
    node = comfy.node("AnimateLCM_EmptyVideoLatent")
    assert node in comfy.pack("nodes").NODES
    assert Path(str(comfy.pack("animatelcm_core.schedule").__file__)).is_relative_to(comfy.base)


def test_nodes_of_all_kinds_run(comfy):
    torch = comfy.module("torch")
    (latent,) = comfy.run("EmptyLatentImage", width=64, height=32, batch_size=2)  # V1
    assert latent["samples"].shape == (2, 4, 4, 8)
    (sigmas,) = comfy.run("SplitSigmas", sigmas=torch.tensor([3.0, 2.0, 0.0]), step=1)[:1]  # V3
    assert sigmas.tolist() == [3.0, 2.0]
    (ours,) = comfy.run("AnimateLCM_EmptyVideoLatent", width=64, height=128, frames=16)
    assert ours["samples"].shape == (16, 4, 16, 8)
