"""A real ComfyUI server in a process of its own, with this pack in it."""

from __future__ import annotations

import filecmp
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from .hosts import Host
from .paths import ROOT
from .problem import Problem
from .processes import hold_signals, start_leashed, stop

PACK = "ComfyUI-AnimateLCM"  # the folder name that users get from git and from the Manager
ADDRESS = "127.0.0.1"
READY_S = 300.0
# What the host needs of this repository; only used where a link cannot be made.
PACK_PARTS = ("__init__.py", "pyproject.toml", "animatelcm_core", "nodes", "web", "workflows", "demo")
# The demo models for a person who wants to choose them in loader nodes; the node Load Demo needs no copy.
# shapes_motion is the teacher: undistilled, for 25 guided steps. shapes_inked_lora is another style.
DEMO_MODEL = {
    "shapes_sd.safetensors": "checkpoints",
    "shapes_lcm_lora.safetensors": "loras",
    "shapes_lcm_motion.safetensors": "animatediff_models",
    "shapes_motion.safetensors": "animatediff_models",
    "shapes_i2v.safetensors": "animatediff_models",
    "shapes_inked_lora.safetensors": "loras",
    "shapes_t2i_adapter.safetensors": "controlnet",
}
MODEL_FOLDERS = ("checkpoints", "loras", "vae", "controlnet", "animatediff_models")


def make_base(base: Path) -> None:
    """Make the folders a server works in (`--base-directory`), with the pack among the custom nodes."""
    for name in ("custom_nodes", "input", "output", "user", *(f"models/{kind}" for kind in MODEL_FOLDERS)):
        (base / name).mkdir(parents=True, exist_ok=True)
    place_pack(base / "custom_nodes")


def install_demo_model(base: Path) -> None:
    """Copy the demo models into the model folders of a base directory.

    What is there stays: another server may have it mapped. What is new is put in its place in one step.
    """
    for name, kind in DEMO_MODEL.items():
        source, target = ROOT / "demo" / name, base / "models" / kind / name
        if target.is_file() and filecmp.cmp(source, target, shallow=False):
            continue
        aside = target.with_name(f"{name}.{os.getpid()}.tmp")
        try:
            shutil.copy2(source, aside)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)


def place_pack(custom_nodes: Path) -> Path:
    """Link this repository as a custom node, or copy it where links are not allowed (Windows)."""
    pack = custom_nodes / PACK
    if pack.is_symlink():
        if pack.resolve() == ROOT:  # another server may be using it
            return pack
        pack.unlink()
    elif pack.exists():
        shutil.rmtree(pack)
    try:
        pack.symlink_to(ROOT, target_is_directory=True)
    except OSError:
        copy_pack(pack)
    return pack


def copy_pack(pack: Path) -> None:
    """Copy the parts of this repository that the host needs to `pack`."""
    pack.mkdir(parents=True)
    for name in PACK_PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, pack / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy2(source, pack / name)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


def is_taken(port: int) -> bool:
    """Whether something listens on this port."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((ADDRESS, port)) == 0


def check_port(port: int) -> None:
    """Raise Problem if something listens on this port, or if we may not."""
    if is_taken(port):
        raise Problem(
            f"port {port} is taken: stop the program that listens there (another ComfyUI?), or choose "
            "another port."
        )
    with socket.socket() as probe:
        if os.name != "nt":  # as the server does; on Windows it would share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise Problem(f"port {port} cannot be used ({error}): choose another port.") from None


class Server:
    """`with Server(host, base, python=...) as server:` starts it, waits for it, and stops it at the end.

    `base` is made ready by `make_base`. `port` 0 takes a free one. `options` are more arguments for main.py.
    """

    def __init__(
        self,
        host: Host,
        base: Path,
        *,
        python: Path,
        port: int = 0,
        gpu: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.host, self.base, self.python, self.gpu, self.options = host, base, python, gpu, tuple(options)
        self.port = port or free_port()
        self.url = f"http://{ADDRESS}:{self.port}"
        self.log = base / f"server-{self.port}.log"
        self.process: subprocess.Popen | None = None

    def program(self) -> list[str]:
        """What the environment's Python runs: ComfyUI's main.py and its options."""
        command = ["main.py", "--listen", ADDRESS, "--port", str(self.port)]
        command += ["--base-directory", str(self.base), "--preview-method", "auto", "--disable-auto-launch"]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK]
        if not self.gpu:
            command += ["--cpu"]
        if "--database-url" in (self.host.path / "comfy" / "cli_args.py").read_text("utf-8", "replace"):
            command += ["--database-url", "sqlite:///:memory:"]
        if self.host.frontend is not None:
            command += ["--front-end-root", str(self.host.frontend)]
        return [*command, *self.options]

    def __enter__(self) -> Server:
        check_port(self.port)
        try:
            with self.log.open("wb") as log, hold_signals():  # else one could come before we have the process
                self.process = start_leashed(self.python, self.program(), self.host.path, output=log)
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the process, if it runs."""
        if self.process is not None:
            stop(self.process)

    def log_text(self) -> str:
        """All that the server has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def answers(self) -> bool:
        """Whether the HTTP interface answers."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no part in this
        try:
            with direct.open(f"{self.url}/system_stats", timeout=5) as reply:
                return reply.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def check_alive(self) -> None:
        """Raises Problem, with the end of the log, if the server has ended by itself."""
        status = None if self.process is None else self.process.poll()
        if status is not None:
            raise self._problem(f"ended with status {status}")

    def _wait_ready(self) -> None:
        end = time.monotonic() + READY_S
        while not self.answers():
            self.check_alive()
            if time.monotonic() > end:
                raise self._problem(f"did not answer in {READY_S:.0f} s")
            time.sleep(0.3)

    def _problem(self, what: str) -> Problem:
        tail = "\n".join(self.log_text().splitlines()[-25:])
        return Problem(f"ComfyUI {self.host.version} {what}. The end of what it printed:\n\n{tail}")


def gpu_usable(python: Path) -> bool:
    """Whether the environment's PyTorch finds a GPU on this machine."""
    question = "import torch; print(torch.cuda.is_available() or torch.backends.mps.is_available())"
    answer = subprocess.run([str(python), "-c", question], capture_output=True, text=True)
    return answer.stdout.strip().endswith("True")
