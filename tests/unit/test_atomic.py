"""Files are whole under their name, whatever happens while they are written."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from animatelcm_core.atomic import beside, replacing, write_text
from training.tensor_files import save_tensors


def write_half(path: Path, failure: type[BaseException]) -> None:
    with beside(path) as part:
        assert part.parent == path.parent
        part.write_bytes(b"half")
        raise failure


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results.json"
    write_text(path, "old \u00e4\n")
    for failure in (OSError, KeyboardInterrupt):
        with pytest.raises(failure):
            write_half(path, failure)
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old \u00e4\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "notes.txt"
    write_text(path, "old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_bytes() == b"new"


def test_line_ends_are_written_as_they_are(tmp_path):
    write_text(tmp_path / "x", "a\nb\r\n")
    assert (tmp_path / "x").read_bytes() == b"a\nb\r\n"


def test_code_that_writes_by_name_is_given_a_name_beside(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"x": torch.zeros(2)}, {"made": "here"})
    with pytest.raises(Exception, match="contiguous"):
        save_tensors(path, {"x": torch.zeros(2, 3).t()})
    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt)
    assert torch.equal(load_file(path)["x"], torch.zeros(2))
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_said_as_such(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "no" / "file", "")


def _write(path: Path, letter: str, started, other) -> None:
    with replacing(path) as file:
        file.write(letter.encode() * 1000)
        file.flush()
        started.set()
        assert other.wait(60)
        file.write(letter.encode() * 1000)


def test_two_processes_that_write_one_path_do_not_collide(tmp_path):
    path, context = tmp_path / "shared", multiprocessing.get_context("spawn")
    events = [context.Event(), context.Event()]
    processes = [
        context.Process(target=_write, args=(path, letter, events[i], events[1 - i]))
        for i, letter in enumerate("ab")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert path.read_bytes() in (b"a" * 2000, b"b" * 2000)
    assert list(tmp_path.iterdir()) == [path]
