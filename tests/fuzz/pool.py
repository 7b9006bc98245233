"""Worker processes that read one file after the other, each in bounded time and memory."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

PATIENCE = 60  # seconds of wall time after which a worker is killed: other work may share the processor
HARD_LIMIT = 6 * 2**30  # bytes of a worker's own memory


def work(connection: Connection, seed: int) -> None:
    """Answer numbers of files with their outcomes, until None comes."""
    import torch

    from .reading import attempt

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (HARD_LIMIT, HARD_LIMIT))
    except (ImportError, ValueError, OSError):
        pass
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    while (index := connection.recv()) is not None:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        try:
            connection.send(attempt(seed, index, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Worker:
    """A process that reads one file after the other, and is replaced when one ends it."""

    def __init__(self, seed: int):
        self.seed = seed
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self.seed), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, index: int) -> None:
        self.index, self.since = index, time.monotonic()
        self.connection.send(index)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def outcomes(
    seed: int, indices: Iterable[int], workers: int
) -> Iterator[tuple[int, str, str, str, float, float]]:
    """(number, kind, generator, words, seconds, MB) of each file, as they come."""
    waiting = iter(indices)
    pool = [Worker(seed) for _ in range(workers)]
    busy: list[Worker] = []

    def next_for(worker: Worker) -> None:
        index = next(waiting, None)
        if index is not None:
            worker.give(index)
            busy.append(worker)

    for worker in pool:
        next_for(worker)
    while busy:
        ready = wait([worker.connection for worker in busy], timeout=1)
        for worker in list(busy):
            if worker.connection in ready:
                busy.remove(worker)
                try:
                    found = worker.connection.recv()
                    yield (
                        worker.index,
                        found.kind,
                        found.generator,
                        found.words,
                        found.seconds,
                        found.megabytes,
                    )
                except (EOFError, OSError):
                    worker.process.join()
                    yield worker.index, "crash", "?", f"exit status {worker.process.exitcode}", 0.0, 0.0
                    worker.start()
                next_for(worker)
            elif time.monotonic() - worker.since > PATIENCE:
                busy.remove(worker)
                worker.end()
                yield worker.index, "slow", "?", f"killed after {PATIENCE} s", float(PATIENCE), 0.0
                worker.start()
                next_for(worker)
    for worker in pool:
        worker.end()
