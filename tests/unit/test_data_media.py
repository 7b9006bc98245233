"""Clips and pictures out of files: the right frames, the right place, and refusals with a reason."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from data_files import frame_number, numbered_frame, real_videos, write_video
from PIL import Image

from training.data.errors import UnreadableMedia
from training.data.media import MAX_SIDE, fill, read_clip, read_image

REAL = real_videos()


def numbers(source: Path | io.BytesIO, frames: int, stride: int, start: float) -> list[int]:
    return [frame_number(frame) for frame in read_clip(source, frames, stride, (64, 96), start)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx"), ("a.mkv", "libx264"), ("a.gif", "gif")],
)
def test_the_frames_are_the_ones_asked_for(tmp_path: Path, name: str, codec: str) -> None:
    options = {"bf": "0"} if codec == "mpeg4" else {}  # an AVI with B-frames tells times one frame late
    path = write_video(tmp_path / name, 40, codec=codec, options=options)
    assert numbers(path, 4, 3, 0.0) == [0, 3, 6, 9]
    assert numbers(path, 4, 3, 1.0) == [30, 33, 36, 39]  # ends with the last frame
    assert numbers(path, 4, 1, 0.5) == [18, 19, 20, 21]  # 37 places, the one in the middle
    assert numbers(io.BytesIO(path.read_bytes()), 2, 20, 0.99) == [19, 39]


def test_every_start_of_a_video_is_reached(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 20)
    found = {numbers(path, 2, 5, (place + 0.5) / 15)[0] for place in range(15)}
    assert found == set(range(15))


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_videos_agree_with_decoding_everything(name: str) -> None:
    with av.open(str(REAL[name])) as container:
        stream = container.streams.video[0]
        size = (stream.height, stream.width)
        frames = list(container.decode(stream))
    first = int(0.6 * (len(frames) - 28))
    expected = [torch.from_numpy(f.to_ndarray(format="rgb24")) for f in frames[first : first + 29 : 7]]
    clip = read_clip(REAL[name], 5, 7, size, 0.6)
    assert torch.equal(clip.permute(0, 2, 3, 1), torch.stack(expected))
    small = read_clip(REAL[name], 5, 7, (64, 48), 0.6)
    assert torch.equal(small[4], fill(clip[4], (64, 48)))


def test_there_are_real_videos() -> None:
    assert len(REAL) == 4


def test_a_phone_held_upright_is_turned(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 4)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    upright = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # a quarter turn clockwise
    data[matrix : matrix + 36] = upright
    clip = read_clip(io.BytesIO(bytes(data)), 4, 1, (96, 64), 0.0)
    straight = read_clip(path, 4, 1, (64, 96), 0.0)
    assert torch.equal(clip, torch.rot90(straight, -1, (2, 3)))


def test_fill_covers_and_crops_the_centre() -> None:
    picture = torch.zeros(3, 40, 80, dtype=torch.uint8)
    picture[0, :, 20:60] = 255
    assert torch.equal(fill(picture, (40, 40))[0], torch.full((40, 40), 255, dtype=torch.uint8))
    assert fill(picture, (16, 64)).shape == (3, 16, 64)
    assert fill(picture, (200, 200)).shape == (3, 200, 200)
    fine = torch.zeros(3, 64, 64, dtype=torch.uint8)
    fine[:, :, ::2] = 255
    assert (fill(fine, (8, 8)).float() - 127.5).abs().max() < 8  # antialiased: stripes become grey


def refused(source: Path | io.BytesIO, frames: int = 4, stride: int = 1) -> str:
    with pytest.raises(UnreadableMedia) as caught:
        read_clip(source, frames, stride, (32, 32), 0.5)
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 4096, b"not a video\n" * 99, random.Random(0).randbytes(4096)],
    ids=["empty", "zeros", "text", "noise"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert "not a video" in refused(path)
    assert "not a video" in refused(io.BytesIO(content))


def test_a_playlist_cannot_name_other_files(tmp_path: Path) -> None:
    write_video(tmp_path / "secret.mp4", 8)
    for text in (
        "ffconcat version 1.0\nfile secret.mp4\n",
        "#EXTM3U\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    ):
        playlist = tmp_path / "a.mp4"
        playlist.write_text(text)
        assert "not a video" in refused(playlist)


def test_short_missing_and_silent_files_are_refused(tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.mp4", 1)
    assert "too short: got 1 frames, expected 4" in refused(one)
    assert refused(write_video(tmp_path / "ten.mp4", 10), 4, 4).startswith(
        "too short: got 10 frames, expected 13"
    )
    assert read_clip(one, 1, 4, (32, 32), 0.9).shape == (1, 3, 32, 32)
    assert refused(tmp_path / "none.mp4") == "there is no such file"
    assert "not a video" in refused(tmp_path)
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    assert refused(sound) == "it has no video stream"


def test_files_that_are_cut_off_or_damaged_are_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "end.mp4", 60).read_bytes()
    for share in (0.01, 0.5, 0.95):  # the index is at the end
        assert "not a video" in refused(io.BytesIO(whole[: int(len(whole) * share)]))
    front = write_video(tmp_path / "f.mp4", 60, (128, 128), container_options={"movflags": "faststart"})
    data = front.read_bytes()
    most = data[: len(data) * 9 // 10]  # the index is at the front
    assert "broken" in refused(io.BytesIO(most), frames=60)
    clip = read_clip(io.BytesIO(most), 4, 1, (128, 128), 0.0)
    assert [frame_number(frame) for frame in clip] == [0, 1, 2, 3]
    real = bytearray(REAL["bikes.mp4"].read_bytes())
    real[200_000:200_400] = random.Random(0).randbytes(400)
    assert "broken" in refused(io.BytesIO(bytes(real)), frames=61, stride=4)


def test_absurd_sizes_are_refused_before_pixels_are_made(tmp_path: Path) -> None:
    wide = write_video(tmp_path / "a.avi", 1, (16, MAX_SIDE + 16), codec="ffv1")
    assert f"absurd size: got {MAX_SIDE + 16}x16" in refused(wide, frames=1)
    data = bytearray(write_video(tmp_path / "b.avi", 4, codec="rawvideo").read_bytes())
    struct.pack_into("<ii", data, data.index(b"strf") + 12, 20_000, 20_000)  # a header that promises too much
    assert "absurd size" in refused(io.BytesIO(bytes(data)))


def saved(image: Image.Image, **options: object) -> io.BytesIO:
    out = io.BytesIO()
    image.save(out, **options)  # pyright: ignore
    return out


def test_pictures() -> None:
    pixels = numbered_frame(77, 64, 96)
    picture = read_image(saved(Image.fromarray(pixels), format="PNG"), (64, 96))
    assert torch.equal(picture.permute(1, 2, 0), torch.from_numpy(pixels))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    turned = read_image(saved(Image.fromarray(pixels), format="PNG", exif=exif), (96, 64))
    assert torch.equal(turned, torch.rot90(picture, -1, (1, 2)))
    clear = read_image(saved(Image.new("RGBA", (8, 8), (9, 9, 9, 0)), format="PNG"), (8, 8))
    assert (clear == 255).all()
    grey = read_image(saved(Image.new("L", (8, 8), 40), format="JPEG"), (16, 16))
    assert grey.shape == (3, 16, 16)


def test_broken_pictures_are_refused(tmp_path: Path) -> None:
    jpeg = saved(Image.fromarray(numbered_frame(5, 64, 64)), format="JPEG").getvalue()
    png = bytearray(saved(Image.new("RGB", (8, 8)), format="PNG").getvalue())
    struct.pack_into(">II", png, 16, 9_000, 9_000)  # a header that promises 81 megapixels
    struct.pack_into(">I", png, 29, zlib.crc32(png[12:29]))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"  # would start another program
    for content, reason in (
        (b"", "not a picture"),
        (b"hello", "not a picture"),
        (jpeg[: len(jpeg) // 2], "not a picture, or a broken one"),
        (bytes(png), "absurd size: got 9000x9000"),
        (eps, "not a picture"),
    ):
        with pytest.raises(UnreadableMedia, match=reason):
            read_image(io.BytesIO(content), (8, 8))
    with pytest.raises(UnreadableMedia, match="no such file"):
        read_image(tmp_path / "none.png", (8, 8))
