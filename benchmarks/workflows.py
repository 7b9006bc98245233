"""What does a clip cost an artist? The shipped workflows at full size: seconds a clip, and the card's memory.

    python quickstart.py bench workflows -- --clips 3
    python quickstart.py bench workflows -- --clips 3 --vram 8

Each workflow is run as it is saved, in a real ComfyUI in this process, on the seeded files of `bench t2v` in
place of the real ones: once with everything to load, then again with other seeds, as a person presses Run
again. Times are those of the nodes up to the finished frames, and of sampling and decoding alone.

`--vram` lets ComfyUI and PyTorch have that many GiB of the card and not a byte more: what does not fit stays
in the machine's memory, as on a card of that size. Writes docs/results/bench_workflows.json, one entry a
machine and limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from repository import RESULTS, write_result
from support import full_files, inprocess
from support.inprocess import Comfy
from t2v import Clocks

from frontdoor.hosts import checkout
from tools import workflow_files
from tools.workflow_files import WorkflowFile
from training import machine

WORKFLOWS = tuple(
    WorkflowFile(f"AnimateLCM {name}")
    for name in ("text to video", "image to video", "controlled video", "long video")
)
FILES = {"ckpt_name": full_files.CHECKPOINT, "lcm_lora": full_files.LORA}
FILES |= {"control_net_name": full_files.CONTROLNET}
SAMPLE, DECODE = "AnimateLCM_Sample", "VAEDecode"
NOT_RUN = ("PreviewImage", "CreateVideo", "SaveVideo")  # they come after the frames


class Graph:
    """A workflow in API format in a running ComfyUI. Nodes whose inputs stayed the same are not run again."""

    def __init__(self, comfy: Comfy, prompt: dict[str, Any]) -> None:
        self.comfy, self.prompt = comfy, prompt
        self.results: dict[str, tuple[Any, ...]] = {}
        self.seconds: dict[str, float] = {}

    def run(self, seed: int) -> torch.Tensor:
        """Frames (n, h, w, 3) under this seed; `seconds` has the time of every node that ran."""
        self.seconds = {}
        changed: set[str] = set()
        last = ""
        for number, node in self.prompt.items():  # saved so that nodes come after what they need
            if node["class_type"] in NOT_RUN:
                continue
            links = [value for value in node["inputs"].values() if isinstance(value, list)]
            new = number not in self.results or node["class_type"] == SAMPLE
            if new or any(source in changed for source, _output in links):
                self.results[number] = self._run(node, seed)
                changed.add(number)
            last = number
        return self.results[last][0]

    def _run(self, node: dict[str, Any], seed: int) -> tuple[Any, ...]:
        given = dict(node["inputs"])
        given.pop("video-preview", None)  # the page's own
        if node["class_type"] == SAMPLE:
            given["seed"] = seed
        for name, value in given.items():
            if isinstance(value, list):
                given[name] = self.results[value[0]][value[1]]
        kind, began = node["class_type"], now()
        result = self.comfy.run(kind, **given)
        self.seconds[kind] = self.seconds.get(kind, 0.0) + now() - began
        return result


def now() -> float:
    """Seconds by the wall's clock, once the card has finished."""
    return Clocks().wall


def prompt_of(file: WorkflowFile, size: int | None) -> dict[str, Any]:
    """The workflow's API form with the seeded files; `size`: other width and height."""
    prompt = workflow_files.read(file.twin)
    for node in prompt.values():
        given = node["inputs"]
        given |= {name: full_files.name(path) for name, path in FILES.items() if name in given}
        if "motion_model" in given:
            motion = full_files.IMAGE_MOTION if "i2v" in given["motion_model"] else full_files.MOTION
            given["motion_model"] = full_files.name(motion)
        if size is not None and "width" in given:
            given |= {"width": size, "height": size}
    return prompt


def measure(comfy: Comfy, file: WorkflowFile, clips: int, size: int | None) -> dict[str, Any]:
    """Seconds of the first clip and of the ones after it, and the card's memory in both."""
    workflow_files.place_media(file.read(), comfy.base)
    free(comfy)
    graph = Graph(comfy, prompt_of(file, size))
    began = now()
    frames = graph.run(0)
    first = now() - began
    times, parts = [], {SAMPLE: [], DECODE: []}
    for seed in range(1, clips + 1):
        began = now()
        frames = graph.run(seed)
        times.append(now() - began)
        for kind, found in parts.items():
            found.append(graph.seconds[kind])
    if not frames.isfinite().all() or float(frames.std()) < 0.01:
        raise SystemExit(f"{file.name}: got frames that are not finite or all one colour; expected a clip")
    row = {
        "workflow": file.name,
        "frames": len(frames),
        "size": list(frames.shape[1:3]),
        "seconds_first_clip": round(first, 3),
        "seconds_a_clip": round(statistics.median(times), 3),
        "seconds_sampling": round(statistics.median(parts[SAMPLE]), 3),
        "seconds_decoding": round(statistics.median(parts[DECODE]), 3),
        "least_to_greatest": [round(min(times), 3), round(max(times), 3)],
        "peak_gib": memory(),
    }
    print(json.dumps(row), flush=True)
    return row


def free(comfy: Comfy) -> None:
    """Forget all models, so that the next workflow begins as in a new ComfyUI."""
    management = comfy.module("comfy.model_management")
    management.unload_all_models()
    management.soft_empty_cache()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def memory() -> dict[str, float]:
    """Peak GiB: of tensors, and of what PyTorch took from the card; without a card, of the process."""
    if not torch.cuda.is_available():
        return {"process": round(machine.peak_memory(), 2)}
    taken = torch.cuda.max_memory_reserved() / machine.GIB
    return {"tensors": round(machine.peak_memory(), 2), "taken": round(taken, 2)}


def limit_memory(vram: float | None) -> list[str]:
    """Limit PyTorch to `vram` GiB; returns the options that tell ComfyUI. Raises SystemExit."""
    if vram is None:
        return []
    if not torch.cuda.is_available():
        raise SystemExit("got --vram without a card; expected a CUDA card to limit")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(vram * machine.GIB / total)
    return ["--reserve-vram", str(total / machine.GIB - vram)]


def add_result(path: Path, entry: dict[str, Any]) -> None:
    """Add `entry` to the results; it replaces an older one of the same host, card, limit and size."""
    entries = json.loads(path.read_text(encoding="ascii")) if path.exists() else []
    same = ("host", "vram_gib", "size")
    others = [e for e in entries if any(e[k] != entry[k] for k in same) or not same_machine(e, entry)]
    write_result(path, [*others, entry])


def same_machine(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether both were measured with the same card, processor and cores."""
    return all(a["machine"][part] == b["machine"][part] for part in ("gpu", "cpu", "cores_usable"))


def command(version: str, options: argparse.Namespace) -> str:
    """The command line that was given."""
    parts = ["python quickstart.py bench workflows --host", version, "-- --clips", str(options.clips)]
    parts += ["--vram", f"{options.vram:g}"] if options.vram is not None else []
    parts += ["--size", str(options.size)] if options.size is not None else []
    parts += ["--only", *options.only] if options.only else []
    return " ".join(parts)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("host", type=Path, help="folder of a ComfyUI; quickstart.py passes it")
    parser.add_argument("--clips", type=int, default=3, help="timed clips of each workflow, after the first")
    parser.add_argument("--vram", type=float, help="limit the card's memory to this many GiB")
    parser.add_argument("--size", type=int, help="width and height in pixels (default: the workflows' own)")
    parser.add_argument("--only", nargs="+", help="run only workflows with these words in their names")
    parser.add_argument("--out", type=Path, default=RESULTS / "bench_workflows.json")
    options = parser.parse_args()
    host, where = checkout(options.host), machine.describe()
    chosen = [file for file in WORKFLOWS if not options.only or any(w in file.name for w in options.only)]
    full_files.write()
    with tempfile.TemporaryDirectory(prefix="animatelcm-") as folder:
        more = limit_memory(options.vram)
        comfy = inprocess.boot(host, Path(folder), *more, gpu=where["gpu"] is not None)
        extra = full_files.extra_paths(comfy.base / "extra_model_paths.yaml")
        comfy.module("utils.extra_config").load_extra_path_config(str(extra))
        entry = {
            "command": command(host.version, options),
            "date": time.strftime("%Y-%m-%d"),
            "host": host.version,
            "machine": where,
            "vram_gib": options.vram,
            "size": options.size,
            "runs": [],
        }
        for file in chosen:
            entry["runs"].append(measure(comfy, file, options.clips, options.size))
            add_result(options.out, entry)  # a run that is cut keeps what it has
    print(f"Written to {options.out}")


if __name__ == "__main__":
    main()
