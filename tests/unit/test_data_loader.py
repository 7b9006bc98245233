"""The stream of batches: the same with workers, processes and restarts; unreadable files are replaced."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from data_files import video_folder
from torch import Tensor

from training.data import (
    Batch,
    DataError,
    Dataset,
    Loader,
    Sample,
    Stream,
    UnreadableMedia,
    VideoFolder,
    Videos,
    collate,
)


class Numbers(Dataset):
    """Sample i shows the number i and a random number; `bad` cannot be read."""

    def __init__(
        self, n: int, bad: frozenset[int] = frozenset(), moody: frozenset[int] = frozenset()
    ) -> None:
        self.n, self.bad, self.moody = n, bad, moody

    def __len__(self) -> int:
        return self.n

    def load(self, index: int, generator: torch.Generator) -> Sample:
        chance = torch.randint(256, (), generator=generator)
        if index in self.bad or (index in self.moody and chance < 128):
            raise UnreadableMedia("made so")
        pixels = (
            torch.stack([torch.tensor(index), chance]).to(torch.uint8).reshape(1, 1, 1, 2).expand(1, 3, 1, 2)
        )
        return Sample(index, str(index), pixels=pixels)


def take(loader: Loader, count: int) -> list[Batch]:
    return list(islice(loader, count))


def rows(batches: list[Batch]) -> list[tuple[int, str, list[float]]]:
    """Position, caption and pixels of every sample."""
    return [
        (int(position), caption, pixels.flatten().tolist())
        for batch in batches
        if batch.pixels is not None
        for position, caption, pixels in zip(batch.positions, batch.captions, batch.pixels, strict=True)
    ]


def test_an_epoch_shows_every_sample_once_and_the_next_is_shuffled_anew() -> None:
    shown = [int(caption) for _, caption, _ in rows(take(Loader(Numbers(12), Stream(seed=3, batch=5)), 5))]
    assert sorted(shown[:12]) == sorted(shown[12:24]) == list(range(12))
    assert shown[:12] != shown[12:24]
    other = [int(caption) for _, caption, _ in rows(take(Loader(Numbers(12), Stream(seed=4, batch=5)), 5))]
    assert other != shown


def test_resume_is_exact_from_every_position() -> None:
    whole = rows(take(Loader(Numbers(7, frozenset({2}), frozenset({4})), Stream(seed=0, batch=3)), 8))
    for cut in range(1, 8):
        first = Loader(Numbers(7, frozenset({2}), frozenset({4})), Stream(seed=0, batch=3))
        take(first, cut)
        assert first.position == 3 * cut
        assert rows(take(first, 8 - cut)) == whole[3 * cut :]  # the same object, a second loop
        resumed = Loader(
            Numbers(7, frozenset({2}), frozenset({4})),
            Stream(seed=0, batch=3, start=first.position - 3 * (8 - cut)),
        )
        assert rows(take(resumed, 8 - cut)) == whole[3 * cut :]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_each_global_batch_in_order(processes: int) -> None:
    data = Numbers(11, frozenset({5}))
    whole = rows(take(Loader(data, Stream(seed=1, batch=2 * processes)), 6))
    parts = [
        take(Loader(data, Stream(seed=1, batch=2, process_index=index, processes=processes)), 6)
        for index in range(processes)
    ]
    together = [row for step in zip(*parts, strict=True) for row in rows(list(step))]
    assert together == whole


def test_workers_change_nothing(tmp_path: Path) -> None:
    folder = video_folder(tmp_path, 6)
    (folder / "c.mp4").write_text("not a video")
    (folder / "e.mp4").write_bytes((folder / "e.mp4").read_bytes()[:400])
    data = VideoFolder(Videos(path=folder, frames=4, stride=2, size=(16, 16)))
    lines: list[str] = []
    alone = Loader(data, Stream(seed=0, batch=4), report=lines.append)
    helped = Loader(data, Stream(seed=0, batch=4, workers=2), report=lambda line: None)
    assert rows(take(alone, 4)) == rows(take(helped, 4))
    assert alone.skipped == helped.skipped
    assert list(alone.skipped) == [line.split()[1].rstrip(":") for line in lines]
    assert set(alone.skipped) == {"c.mp4", "e.mp4"}
    assert all("not a video" in line for line in lines)


def test_clips_begin_elsewhere_in_each_epoch(tmp_path: Path) -> None:
    data = VideoFolder(Videos(path=video_folder(tmp_path, 1, frames=40), frames=2, stride=1, size=(16, 16)))
    assert len({tuple(pixels) for _, _, pixels in rows(take(Loader(data, Stream(seed=0, batch=1)), 6))}) > 3


def test_an_unreadable_sample_is_replaced_by_the_next_readable_one() -> None:
    good = [int(c) for _, c, _ in rows(take(Loader(Numbers(8), Stream(seed=5, batch=8)), 1))]
    bad = frozenset({good[2], good[3], good[7]})
    loader = Loader(Numbers(8, bad), Stream(seed=5, batch=8), report=lambda line: None)
    shown = [int(c) for _, c, _ in rows(take(loader, 1))]
    assert shown == [good[0], good[1], good[4], good[4], good[4], good[5], good[6], good[0]]
    assert loader.skipped == {f"sample {index}": "made so" for index in (good[2], good[3], good[7])}


@pytest.mark.parametrize(("n", "bad"), [(1, 1), (3, 2), (1000, 1000), (1000, 900)])
def test_mostly_unreadable_data_is_an_error(n: int, bad: int) -> None:
    loader = Loader(Numbers(n, frozenset(range(bad))), Stream(seed=0, batch=2), report=lambda line: None)
    with pytest.raises(DataError, match=r"at least half to be readable(.|\n)*sample \d+: made so"):
        take(loader, 1000)


def test_half_unreadable_is_no_error() -> None:
    loader = Loader(Numbers(200, frozenset(range(100))), Stream(seed=0, batch=10), report=lambda line: None)
    take(loader, 60)
    assert len(loader.skipped) == 100


def test_wrong_numbers_are_refused() -> None:
    for wrong in ({"batch": 0}, {"batch": 1, "start": -1}, {"batch": 1, "process_index": 2, "processes": 2}):
        with pytest.raises(DataError, match="expected a batch of 1 or more"):
            Loader(Numbers(3), Stream(seed=0, **wrong))
    with pytest.raises(DataError, match="without samples"):
        Loader(Numbers(0), Stream(seed=0, batch=1))


def test_the_random_state_of_the_run_is_left_alone() -> None:
    before = torch.get_rng_state()
    take(Loader(Numbers(5), Stream(seed=0, batch=2)), 3)
    assert torch.equal(before, torch.get_rng_state())


def test_collate() -> None:
    def sample(position: int, latents: Tensor) -> Sample:
        context = torch.ones(7, 4, dtype=torch.float16)
        return Sample(position, "a", latents=latents, context=context)

    batch = collate([sample(k, torch.ones(2, 4, 3, 3, dtype=torch.float16)) for k in (4, 9)])
    assert batch.latents is not None
    assert batch.context is not None
    assert batch.pixels is None
    assert (batch.latents.shape, batch.latents.dtype) == ((2, 2, 4, 3, 3), torch.float32)
    assert batch.context.shape == (2, 7, 4)
    assert batch.positions.tolist() == [4, 9]
    pixels = collate(
        [Sample(0, "a", pixels=torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2))]
    ).pixels
    assert pixels is not None
    assert pixels.flatten().tolist() == [-1, 1]
    with pytest.raises(DataError, match="one shape"):
        collate([sample(0, torch.ones(2, 4, 3, 3)), sample(1, torch.ones(2, 4, 3, 4))])
