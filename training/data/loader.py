"""An endless stream of batches that depends on the seed and the position alone.

Position p = 0, 1, 2, ... of a run stands for sample p mod n of epoch p // n. N processes take each global
batch in slices, so together they see what one process with N times the batch sees. Workers only read ahead.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace

import torch
import torch.utils.data as torch_data
from torch import Tensor

from .errors import DataError
from .reading import Report, Skip, Tally, log_line, read
from .sample import Batch, Dataset, Sample, collate

_IN_A_ROW = 256  # unreadable samples after which a stream gives up


@dataclass
class _Fetched:
    """What a worker sends for one batch."""

    samples: list[Sample] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    exhausted: bool = False


class _Reader(torch_data.Dataset[_Fetched]):
    """Reads the samples of positions, in a worker or in the process itself."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self._orders: dict[int, Tensor] = {}

    def __getitem__(self, positions: list[int]) -> _Fetched:
        fetched = _Fetched()
        for position in positions:
            if not self._fetch(position, fetched):
                fetched.exhausted = True
                break
        return fetched

    def _fetch(self, position: int, fetched: _Fetched) -> bool:
        """The sample of `position`, or the next readable one of its epoch; False where there is none."""
        n = len(self.dataset)
        order = self._order(position // n)
        for step in range(min(n, _IN_A_ROW)):
            index = int(order[(position + step) % n])
            result = read(self.dataset, index, self.seed, position)
            if isinstance(result, Sample):
                fetched.samples.append(result)
                fetched.indices.append(index)
                return True
            fetched.skips.append(result)
        return False

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = self.dataset.order(self.seed, epoch)
        return self._orders[epoch]


@dataclass(frozen=True)
class _Slices(torch_data.Sampler[list[int]]):
    """Positions of this process's part of each global batch, for ever."""

    stream: Stream

    def __iter__(self) -> Iterator[list[int]]:
        s = self.stream
        base = s.start + s.process_index * s.batch
        while True:
            yield list(range(base, base + s.batch))
            base += s.batch * s.processes


def _leave_signals_to_the_run(_worker: int) -> None:
    """Launchers and terminals signal whole groups: a worker that died of it would end the run unsaved."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class Stream:
    """Which batches a process sees. Raises DataError for numbers that make none.

    batch: samples of this process; start: samples that all processes together have consumed, `position` of
    the run that is resumed. workers: processes that read ahead.
    """

    seed: int
    batch: int
    process_index: int = 0
    processes: int = 1
    start: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        negative = self.start < 0 or self.workers < 0
        if self.batch < 1 or negative or not 0 <= self.process_index < self.processes:
            raise DataError(
                f"got batch {self.batch}, start {self.start}, workers {self.workers}, process "
                f"{self.process_index}/{self.processes}; expected a batch of 1 or more, no negative number, "
                "a process below their number."
            )


class Loader:
    """`for batch in loader`: never ends; a second loop starts where the first one stopped.

    Raises DataError when most of the data cannot be read.
    """

    def __init__(self, dataset: Dataset, stream: Stream, report: Report = log_line) -> None:
        if len(dataset) == 0:
            raise DataError("got a data set without samples; expected one or more.")
        self.position = stream.start  # samples consumed by all processes
        self._reader = _Reader(dataset, stream.seed)
        self._tally = Tally(dataset, report)
        self._stream = stream

    @property
    def skipped(self) -> dict[str, str]:
        """Name -> reason of every file that this process could not use."""
        return self._tally.skipped

    def __iter__(self) -> Generator[Batch, None, None]:
        stream = replace(self._stream, start=self.position)
        fetching = torch_data.DataLoader(
            self._reader,
            sampler=_Slices(stream),
            batch_size=None,
            num_workers=stream.workers,
            worker_init_fn=_leave_signals_to_the_run,
            generator=torch.Generator(),  # its own: the run's random state stays as it is
        )
        for fetched in fetching:
            for index in fetched.indices:
                self._tally.good(index)
            for skip in fetched.skips:
                self._tally.skip(skip)
            if fetched.exhausted:
                raise DataError(self._tally.complaint())
            self.position += stream.batch * stream.processes
            yield collate(fetched.samples)
