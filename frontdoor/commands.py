"""The command line of quickstart.py."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from . import environment, hosts, suite
from .hosts import HOST_PINS, NEWEST, Host
from .paths import HOSTS, PYTHON, ROOT, full_path
from .problem import Problem, print_anything, unforeseen
from .processes import LEASH, run, run_leashed
from .server import Server, check_port, gpu_usable, install_demo_model, make_base

INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Problems are printed without a traceback."""
    print_anything()
    _end_in_order()
    given, rest = split(arguments)
    options = _parser().parse_args(given)
    try:
        return options.command(options, rest)
    except (Problem, OSError) as problem:  # OSError: a folder that may not be written, ...
        print(f"\nquickstart: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nquickstart: stopped.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        print(f"\nquickstart: {unforeseen(error, HOSTS)}", file=sys.stderr)
        return 1


def _end_in_order() -> None:
    """Turn Ctrl-C, a time limit and a closed terminal into exceptions, so that servers are stopped."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell script may have passed it on ignored
    signal.signal(signal.SIGTERM, end)
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:  # ignored means nohup
        signal.signal(hang_up, end)


def demo(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Make a small video from text."""
    output = full_path(options.output)
    try_folder(output)  # a clip that cannot be written is better told before it is made
    host = _host(options)
    with tempfile.TemporaryDirectory(prefix="animatelcm-") as folder:
        make_base(Path(folder))
        print(f"Starting ComfyUI {host.version}", flush=True)
        with Server(host, Path(folder), python=PYTHON, gpu=gpu_usable(PYTHON), options=rest) as server:
            command = ["-m", "frontdoor.demo", "--url", server.url, "--output", output]
            command += ["--prompt", options.prompt] if options.prompt is not None else []
            command += ["--seed", str(options.seed)] if options.seed is not None else []
            status = run_leashed(PYTHON, command)
            server.check_alive()
            return status


def serve(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run ComfyUI until Ctrl-C. Models, inputs and outputs stay in .hosts/served/."""
    check_port(options.port)
    host = _host(options)
    base = HOSTS / "served"
    make_base(base)
    install_demo_model(base)
    print(f"Starting ComfyUI {host.version}", flush=True)
    with Server(host, base, python=PYTHON, port=options.port, gpu=gpu_usable(PYTHON), options=rest) as server:
        print(f"\nComfyUI is at {server.url}  (Ctrl-C stops it)")
        print("Open Templates, then ComfyUI-AnimateLCM, for the workflows of this pack.")
        print(f"Your own models go to {base / 'models'}; clips come to {base / 'output'}.", flush=True)
        if options.open:
            webbrowser.open(server.url)
        while True:
            time.sleep(0.5)
            server.check_alive()


def test(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run all tests, or only the fast unit tests."""
    return suite.main(options.fast, options.hosts.split(","), rest)


def bench(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run one of the scripts in benchmarks/, with the path of the host as its first argument."""
    scripts = benchmarks()
    if options.name not in scripts:
        expected = ", ".join(sorted(scripts)) or "none"
        raise Problem(f"got no benchmark {options.name!r}, expected one of: {expected}.")
    host = _host(options)
    environment.ensure("test")  # some measure with the training's tools
    return run([PYTHON, LEASH, "quiet", scripts[options.name], host.path, *rest])


def benchmarks() -> dict[str, Path]:
    """The scripts in benchmarks/ that can be run, by their names."""
    files = sorted((ROOT / "benchmarks").glob("*.py"))
    return {file.stem: file for file in files if "__main__" in file.read_text(encoding="ascii")}


def try_folder(folder: Path) -> None:
    """Make a folder and write to it. Raises Problem."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        raise Problem(
            f"got {folder} for the clips, which cannot be made or written to ({error.strerror or error}): "
            "choose another folder with --output."
        ) from None


def _host(options: argparse.Namespace) -> Host:
    """Make the environment and the ComfyUI of these options ready."""
    if options.comfyui is None:
        environment.ensure("run")
        return hosts.ensure_pinned(options.host)
    own = hosts.checkout(options.comfyui)  # first of all: it may be the wrong folder
    environment.ensure("run")
    return hosts.with_frontend(own)


def _port(text: str) -> int:
    number = int(text)
    if not 0 < number < 2**16:
        raise argparse.ArgumentTypeError(f"got {number}, expected 1 to 65535")
    return number


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and those after `--`, which go to pytest, ComfyUI or the benchmark."""
    given = list(arguments)
    if "--" not in given:
        return given, []
    at = given.index("--")
    return given[:at], given[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="quickstart.py", description="AnimateLCM in a real ComfyUI.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one_host = argparse.ArgumentParser(add_help=False)
    which = one_host.add_mutually_exclusive_group()
    which.add_argument(
        "--host", choices=list(HOST_PINS), default=NEWEST, help="version of ComfyUI (default %(default)s)"
    )
    which.add_argument("--comfyui", type=Path, metavar="PATH", help="use your own ComfyUI folder instead")

    made = commands.add_parser("demo", parents=[one_host], help="make a small video from text, saved as mp4")
    made.add_argument("--prompt", metavar="TEXT", help="what to show, such as: a blue crab swimming up")
    made.add_argument("--seed", type=int, metavar="N", help="another seed gives another clip")
    made.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="where to write it")
    made.set_defaults(command=demo)

    tested = commands.add_parser("test", help="run all tests; arguments after -- go to pytest")
    tested.add_argument("--fast", action="store_true", help="run only the unit tests, without the slow ones")
    tested.add_argument(
        "--hosts",
        default=",".join(HOST_PINS),
        metavar="LIST",
        help="versions or folders of ComfyUI to test (default %(default)s)",
    )
    tested.set_defaults(command=test)

    served = commands.add_parser("serve", parents=[one_host], help="start ComfyUI with the pack")
    served.add_argument(
        "--port", type=_port, default=8188, metavar="N", help="its port (default %(default)s)"
    )
    served.add_argument("--open", action="store_true", help="open it in the browser")
    served.set_defaults(command=serve)

    measured = commands.add_parser("bench", parents=[one_host], help="run a benchmark of speed and memory")
    measured.add_argument("name", help="its name, such as t2v: text to video with full-size random weights")
    measured.set_defaults(command=bench)
    return parser
