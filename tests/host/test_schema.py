"""The nodes' ids, inputs, order and defaults are frozen; every word a user needs is there.

To renew the snapshot delete golden_schema.json, run this test once, and read the difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.inprocess import Comfy

SNAPSHOT = Path(__file__).with_name("golden_schema.json")
TABLE = {  # ids, inputs in order
    "AnimateLCM_LoadCheckpoint": "ckpt_name motion_model lcm_lora lora_strength schedule",
    "AnimateLCM_LoadMotionModel": "motion_model",
    "AnimateLCM_ApplyMotionModel": "model motion schedule strength start_percent end_percent",
    "AnimateLCM_ModelSampling": "model schedule beta_end original_steps",
    "AnimateLCM_Scheduler": "model steps denoise",
    "AnimateLCM_SamplerLCM": "s_noise",
    "AnimateLCM_EmptyVideoLatent": "width height frames",
    "AnimateLCM_Sample": "model positive negative latent seed steps cfg denoise",
    "AnimateLCM_ImageToVideo": (
        "model vae image width height frames motion_scale level_weights start_percent end_percent encoder"
    ),
    "AnimateLCM_ColorAlign": "images reference mode hue saturation value strength mask smoothing",
    "AnimateLCM_ControlLoRA": "control_net lora strength",
    "AnimateLCM_EdgeHints": "images mode low_threshold high_threshold smoothing",
    "AnimateLCM_LongVideo": "model context_length overlap schedule fuse freenoise",
    "AnimateLCM_LoadDemo": "mode",
}
FILES = ("ckpt_name", "motion_model", "lcm_lora", "lora")  # their choices are this machine's files
KEPT = ("default", "min", "max", "step", "round", "options", "control_after_generate")


def described(node: Any) -> dict[str, Any]:
    """What workflows and API prompts depend on."""
    schema = node.GET_SCHEMA()
    inputs = {}
    for item in schema.inputs or []:
        facts = {key: value for key, value in item.as_dict().items() if key in KEPT and value is not None}
        if item.id in FILES:
            facts.pop("options", None)
        inputs[item.id] = {"type": str(item.get_io_type()), **facts}
    outputs = [[str(out.get_io_type()), out.display_name] for out in schema.outputs]
    return {"display_name": schema.display_name, "inputs": inputs, "outputs": outputs}


def test_the_table(comfy: Comfy) -> None:
    ours = {node.GET_SCHEMA().node_id: node for node in comfy.pack("nodes").NODES}
    assert {name: " ".join(i.id for i in n.GET_SCHEMA().inputs or []) for name, n in ours.items()} == TABLE
    defaults = {
        name: {i.id: i.default for i in node.GET_SCHEMA().inputs or [] if hasattr(i, "default")}
        for name, node in ours.items()
    }
    assert defaults["AnimateLCM_LoadCheckpoint"]["lora_strength"] == 0.8
    assert defaults["AnimateLCM_LoadCheckpoint"]["schedule"] == "auto"
    assert defaults["AnimateLCM_ApplyMotionModel"] == {
        "schedule": "auto",
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    assert defaults["AnimateLCM_Scheduler"] == {"steps": 4, "denoise": 1.0}
    assert defaults["AnimateLCM_SamplerLCM"] == {"s_noise": 1.0}
    assert defaults["AnimateLCM_EmptyVideoLatent"] == {"width": 512, "height": 512, "frames": 16}
    sample = defaults["AnimateLCM_Sample"]
    assert (sample["steps"], sample["cfg"], sample["denoise"]) == (4, 1.0, 1.0)


def test_snapshot(comfy: Comfy) -> None:
    got = {node.GET_SCHEMA().node_id: described(node) for node in comfy.pack("nodes").NODES}
    text = json.dumps(got, indent=1) + "\n"
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(text, encoding="ascii")
        pytest.fail(f"wrote a new {SNAPSHOT.name}: look at it, then run again")
    assert json.loads(text) == json.loads(SNAPSHOT.read_text(encoding="ascii"))


@pytest.mark.parametrize("name", TABLE)
def test_words(comfy: Comfy, name: str) -> None:
    schema = comfy.node(name).GET_SCHEMA()
    assert schema.category == "AnimateLCM"
    assert len(schema.description) > 60
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="ascii")
    assert page.startswith(f"# {schema.display_name}\n")
    for section in ("## Inputs", "## Typical use", "## Common mistakes"):
        assert section in page
    for item in schema.inputs or []:
        assert item.tooltip
        assert len(item.tooltip) > 20
        assert f"| `{item.id}` |" in page
        limits = [getattr(item, key, None) for key in ("min", "max", "default")]
        if limits[1] is not None and item.id != "seed":
            told = item.tooltip.replace(",", "")
            assert f"{limits[1]:g}" in told, f"{item.id}: the tooltip does not tell its range"
    for out in schema.outputs:
        assert out.tooltip


def test_no_page_without_a_node() -> None:
    assert {page.stem for page in (ROOT / "web" / "docs").glob("*.md")} == set(TABLE)


def test_folders_are_shared_with_other_packs(comfy: Comfy) -> None:
    paths = comfy.module("folder_paths")
    folders = comfy.pack("animatelcm_core.host.folders")
    places, types = paths.folder_names_and_paths["animatediff_models"]
    assert str(comfy.base / "models" / "animatediff_models") in places
    assert paths.supported_pt_extensions <= types
    before = (list(places), set(types))
    types.add(".of_another_pack")
    folders.register()
    places, types = paths.folder_names_and_paths["animatediff_models"]
    try:
        assert list(places) == before[0]
        assert types == before[1] | {".of_another_pack"}
    finally:
        types.discard(".of_another_pack")
