"""Runs that need a ComfyUI process of their own; `scenario()` starts one and returns what it found.

`python scenarios.py HOST BASE NAME` boots ComfyUI, runs the function NAME and prints its findings as JSON.
Tensors go to BASE/found.safetensors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIME_S = 500


def scenario(host: Path, base: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the scenario found: values and tensors. A process that ends badly fails the test, log included."""
    command = [sys.executable, __file__, str(host), str(base), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_S, check=False)
    assert done.returncode == 0, (
        f"{name} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    )
    from safetensors.torch import load_file

    file = base / "found.safetensors"
    return json.loads(done.stdout.splitlines()[-1]), load_file(file) if file.exists() else {}


def _orders(studio: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Base, text to video and image-to-video schedules in turn, as #16490 of ComfyUI mixes them up."""
    from support.studio import watched

    base, t2v = studio.model, studio.video()
    i2v = studio.video(schedule="image to video")
    steps, results = [], []
    for name, model in (
        ("base", base),
        ("t2v", t2v),
        ("base", base),
        ("i2v", i2v),
        ("t2v", t2v),
        ("base", base),
    ):
        model, seen = watched(model)
        plain = {"sampler_name": "euler", "scheduler": "normal"} if name == "base" else {}
        results.append((name, studio.ksampler(model, 8, cfg=1.5, steps=4, **plain)))
        steps.append([name, seen])
    names = ("base", "t2v", "base_again", "i2v", "t2v_again", "base_at_last")
    tables = [len(base.model.model_sampling.sigmas), float(base.model.model_sampling.sigma_max)]
    return {"steps": steps, "tables": tables}, dict(zip(names, (r for _, r in results), strict=True))


def _lazy(studio: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Layers have no weights before they are loaded: sizes and types must come from the file."""
    import torch

    ops = studio.comfy.module("comfy.ops").manual_cast
    empty = studio.host("...motion_module").MotionModel(studio.host("...config").SD15_T2V, ops)
    before = [layer.weight is None for layer in empty.modules() if isinstance(layer, torch.nn.Linear)]
    motion = studio.motion
    found = {
        "lazy": all(before) and len(before) > 0,
        "loaded": all(parameter.numel() > 0 for parameter in motion.model.parameters()),
        "count": len(list(motion.model.parameters())),
        "dynamic": studio.host("compat").is_dynamic(motion.patcher),
        "size": motion.patcher.model_size(),
    }
    return found, {"t2v": studio.sample(studio.video(), cfg=1.5)}


def _mapped(studio: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights are the file's pages, made read-only: a write into them ends the process."""
    import ctypes

    from support import small_files

    motion = studio.load_motion(small_files.WIDE_MOTION)
    studio.__dict__["motion"] = motion
    file = studio.path(small_files.WIDE_MOTION)
    spans = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(file)
    ]
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    read_only = [protect(ctypes.c_void_p(a), ctypes.c_size_t(b - a), 1) for a, b in spans]
    places = [parameter.data_ptr() for parameter in motion.model.parameters()]
    found = {
        "protected": [len(read_only), set(read_only) == {0}],
        "mapped": all(any(a <= place < b for a, b in spans) for place in places),
    }
    first = studio.sample(studio.video(), cfg=1.5)
    studio.image()
    again = studio.sample(studio.lora(studio.video()), cfg=1.5)
    return found, {"t2v": first, "lora": again}


def _hooks(studio: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Conditioning hooks evaluate on another instance of the UNet, read from disk again."""
    from support.studio import hooked, hooks_on

    used: set[bool] = set()
    model = studio.video()

    def watch(executor: Any, *args: Any, **kw: Any) -> Any:
        used.add(executor.class_obj is studio.model.model)
        return executor(*args, **kw)

    model.add_wrapper_with_key("apply_model", "watch", watch)
    conditions = {"positive": hooked(studio, studio.positive), "negative": hooked(studio, studio.negative)}
    got = studio.sample(model, cfg=1.5, **conditions)
    found = {"same_instance": sorted(used), "left": hooks_on(studio.model)}
    return found, {"hooked": got, "t2v": studio.sample(studio.video(), cfg=1.5)}


def _control(studio: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Adapters with a LoRA beside the plain ones. They are made first: here nothing can be unloaded."""
    import torch

    from support import controls, small_files

    hint = torch.rand(8, 64, 64, 3, generator=torch.Generator().manual_seed(5))
    made, found = {}, {}
    loras = {"controlnet": small_files.CONTROL_LORA, "t2i_adapter": small_files.T2I_LORA}
    for kind, lora in loras.items():
        plain = getattr(controls, kind)(studio)
        settings = {"lora": Path(lora).name, "strength": 1.0}
        (adapted,) = studio.comfy.run("AnimateLCM_ControlLoRA", control_net=plain, **settings)
        made[f"{kind}_plain"] = controls.controlled(studio, studio.video(), plain, hint)
        made[f"{kind}_adapted"] = controls.controlled(studio, studio.video(), adapted, hint)
        made[f"{kind}_again"] = controls.controlled(studio, studio.video(), plain, hint)
        if kind == "controlnet":
            patchers = plain.control_model_wrapped, adapted.control_model_wrapped
            found["dynamic"] = [studio.host("compat").is_dynamic(p) for p in patchers]
            found["patches"] = len(patchers[1].patches)
    return found, made


def _compiled(studio: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """torch.compile as the host's node sets it up: plain first, then motion, then in turns."""
    from support.studio import relative

    helper = studio.comfy.module("comfy_api.torch_helpers").set_torch_compile_wrapper
    node = studio.comfy.module("comfy_extras.nodes_torch_compile")
    filtering = getattr(node, "skip_torch_compile_dict", None)
    graphs: list[Any] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    other = studio.load_motion(studio.motion_file)
    for parameter in other.model.parameters():
        parameter.data.mul_(0.5)
    base = studio.scheduled()
    compiled = base.clone()
    helper(compiled, backend, {"guard_filter_fn": filtering} if filtering else None)
    with_motion = studio.host("patches.motion").with_motion
    runs = {
        "plain": (lambda model: model, {"frames": 8}),
        "motion": (lambda model: with_motion(model, studio.motion), {"frames": 8}),
        "two conditions": (lambda model: with_motion(model, studio.motion), {"frames": 4, "cfg": 1.5}),
        "other weights": (lambda model: with_motion(model, other), {"frames": 8}),
    }
    expected = {name: studio.sample(make(base), steps=1, **how) for name, (make, how) in runs.items()}
    models = {name: make(compiled) for name, (make, _how) in runs.items()}
    errors, counts = [], []
    for name in ("plain", "motion", "two conditions", "other weights", "motion", "plain"):
        got = studio.sample(models[name], steps=1, **runs[name][1])
        errors.append([name, relative(got, expected[name])])
        counts.append(len(graphs))
    apart = min(relative(expected[name], expected["motion"]) for name in ("plain", "other weights"))
    return {"errors": errors, "graphs": counts, "apart": apart}, {}


def _clips(studio: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same runs as in the other host."""
    return {}, studio.clips()


DYNAMIC = ("orders", "lazy", "mapped", "hooks", "control")  # with the on-demand patcher
SCENARIOS: dict[str, Callable[[Any], tuple[dict[str, Any], dict[str, Any]]]] = {
    "orders": _orders,
    "lazy": _lazy,
    "mapped": _mapped,
    "hooks": _hooks,
    "control": _control,
    "compiled": _compiled,
    "clips": _clips,
}


def _host(folder: str) -> Any:
    from frontdoor import hosts  # `support` has made it importable

    return hosts.checkout(Path(folder))


def main(host: str, base: str, name: str) -> None:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # for `support`, in place of its own folder
    from support import inprocess, small_files
    from support.studio import Studio

    folder = Path(base)
    compiling = name == "compiled"
    # The host's default attention on a CPU asks the system for memory, which breaks the compiled graph.
    options = ["--use-pytorch-cross-attention"] if compiling else []
    comfy = inprocess.boot(_host(host), folder, *options)
    if compiling:
        studio = Studio(comfy, small_files.TINY_CHECKPOINT, small_files.TINY_MOTION)
    else:
        studio = Studio(comfy)
    if name in DYNAMIC:
        from support import dynamic_vram_on_cpu

        dynamic_vram_on_cpu.force()
    values, tensors = SCENARIOS[name](studio)
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "found.safetensors")
    print(json.dumps(values))


if __name__ == "__main__":
    main(*sys.argv[1:])
