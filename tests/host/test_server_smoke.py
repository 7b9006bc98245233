"""A real server starts with the pack, shows its nodes, and goes away again."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from support.client import Client

from frontdoor.api import Failed, Rejected
from frontdoor.problem import Problem
from frontdoor.server import PACK, Server, copy_pack, is_taken, make_base

NODES = {
    "AnimateLCM_ApplyMotionModel",
    "AnimateLCM_EmptyVideoLatent",
    "AnimateLCM_LoadCheckpoint",
    "AnimateLCM_LoadDemo",
    "AnimateLCM_LoadMotionModel",
    "AnimateLCM_ModelSampling",
    "AnimateLCM_Sample",
    "AnimateLCM_SamplerLCM",
    "AnimateLCM_Scheduler",
}


def test_the_host_under_test_answers(client, host):
    assert client.get("/system_stats")["system"]["comfyui_version"] == host.version


def test_all_nodes_are_listed_and_come_from_this_pack(client):
    ours = {name: node for name, node in client.object_info().items() if name.startswith("AnimateLCM_")}
    assert set(ours) >= NODES
    assert {node["python_module"] for node in ours.values()} == {f"custom_nodes.{PACK}"}


def test_the_log_shows_the_pack_and_no_failed_import(server):
    # Up to the end of its start; later tests provoke errors on the same server.
    log, started, _ = server.log_text().partition("To see the GUI go to")
    assert started
    # The table of import times, where the host adds (IMPORT FAILED) to those that failed.
    assert re.search(rf"\d+\.\d seconds: .*{re.escape(PACK)}", log)
    assert "IMPORT FAILED" not in log
    assert "comfy_entrypoint in" not in log
    assert "Traceback" not in log


def node(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs}


def test_a_prompt_runs_and_its_pictures_come_back(client):
    run = client.run(
        {
            "picture": node("EmptyImage", width=24, height=16, batch_size=3, color=0x204060),
            "save": node("SaveImage", images=["picture", 0], filename_prefix="smoke"),
        }
    )
    frames = client.images(run, "save").reshape(3, 16, 24, 3)
    assert (frames == [0x20, 0x40, 0x60]).all()
    assert run.executed == ["picture", "save"]


def test_a_wrong_prompt_is_refused_with_a_reason(client):
    prompt = {
        "picture": node("EmptyImage", width=0, height=8, batch_size=1, color=0),
        "show": node("PreviewImage", images=["picture", 0]),
    }
    with pytest.raises(Rejected, match="(?i)smaller than min.*width") as caught:
        client.run(prompt)
    assert "picture" in caught.value.node_errors


def test_an_error_in_a_node_is_told(client):
    # It passes validation; the node finds out that this is outside of its folder.
    prompt = {
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "save": node("SaveLatent", samples=["latent", 0], filename_prefix="../../../out"),
    }
    with pytest.raises(Failed, match="SaveLatent") as caught:
        client.run(prompt)
    run = caught.value.run
    assert run.status == "error"
    assert run.error is not None
    assert run.error["node_id"] == "save"


def test_the_parts_that_are_copied_on_windows_are_enough(host, server, tmp_path):
    make_base(tmp_path)
    pack = tmp_path / "custom_nodes" / PACK
    if pack.is_symlink():
        pack.unlink()
        copy_pack(pack)
    with Server(host, tmp_path, python=server.python) as other, Client(other.url) as client:
        assert set(client.object_info()) >= NODES
        assert "Traceback" not in other.log_text()


def test_a_server_that_cannot_start_says_why_and_is_gone(start_server: Callable[..., Server]):
    with pytest.raises(Problem, match="(?s)ended with status.*--no-such-option"):
        start_server("--no-such-option")


def test_a_taken_port_is_told(host, server, tmp_path):
    second = Server(host, tmp_path, python=server.python, port=server.port)
    with pytest.raises(Problem, match=f"port {server.port} is taken"):
        second.__enter__()


def test_a_stopped_server_is_gone(start_server: Callable[..., Server]):
    server = start_server()
    assert is_taken(server.port)
    server.stop()
    assert server.process is not None
    assert server.process.poll() is not None
    assert not is_taken(server.port)
