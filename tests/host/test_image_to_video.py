"""A reference image in a real sampling run: where it acts, when it is computed, what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import small_files
from support.studio import Studio, hooks_on, relative
from test_other_packs import windows
from torch import Tensor


@pytest.fixture(scope="module")
def motion(studio: Studio) -> Any:
    """An image-to-video motion model, with its encoder."""
    return studio.load_motion(small_files.IMAGE_MOTION)


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """(1, 96, 160, 3): another size and aspect than the clip's."""
    generator = torch.Generator().manual_seed(4)
    coarse = torch.rand(1, 3, 6, 10, generator=generator)
    large = torch.nn.functional.interpolate(coarse, (96, 160), mode="bicubic").clamp(0, 1)
    return large.permute(0, 2, 3, 1)


@pytest.fixture(scope="module")
def video(studio: Studio, motion: Any) -> Any:
    """A MODEL with the image-to-video motion model on its schedule, without an image."""
    with torch.inference_mode():
        moving = studio.host("patches.motion").with_motion(studio.model, motion)
    return studio.scheduled(moving, "image to video")


Make = Callable[..., tuple[Any, dict[str, Tensor]]]


@pytest.fixture
def make(studio: Studio, video: Any, picture: Tensor) -> Make:
    """AnimateLCM Image To Video with the usual inputs and those that are given."""

    def run(**inputs: Any) -> tuple[Any, dict[str, Tensor]]:
        given = {"model": video, "vae": studio.base[2], "image": picture, "width": 64, "height": 64}
        given |= {"frames": 8, "motion_scale": 0.8} | inputs
        model, latent = studio.comfy.run("AnimateLCM_ImageToVideo", **given)
        return model, latent

    return run


@pytest.fixture
def counted(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of every evaluation of an image encoder, while it is used."""
    encoder = studio.host("...image_encoder").ImageEncoder
    seen: list[int] = []
    forward = encoder.forward

    def watch(self: Any, latents: Tensor, positions: Any, motion_scale: float) -> list[Tensor]:
        seen.append(len(positions))
        return forward(self, latents, positions, motion_scale)

    monkeypatch.setattr(encoder, "forward", watch)
    return seen


def test_the_image_acts_and_leaves_nothing_behind(studio: Studio, video: Any, make: Make) -> None:
    bare = studio.sample(video)
    model, latent = make()
    assert latent["samples"].shape == (8, 4, 8, 8)
    clip = studio.sample(model, latent=latent)
    assert clip.isfinite().all()
    assert relative(clip, bare) > 0.05
    assert hooks_on(model) == 0
    assert torch.equal(studio.sample(video), bare)


def test_it_is_computed_once_a_run(studio: Studio, make: Make, picture: Tensor, counted: list[int]) -> None:
    model, latent = make()
    studio.sample(model, latent=latent, steps=3, cfg=1.5)
    assert counted == [8]
    studio.sample(model, latent=latent, steps=2, seed=9)  # kept for a run, not for ever
    assert counted == [8, 8]
    before = studio.sample(model, latent=latent)
    other, _ = make(image=picture.flip(2))
    assert relative(studio.sample(other, latent=latent), before) > 0.01
    assert torch.equal(studio.sample(model, latent=latent), before)


def test_both_conditions_get_the_same_features(studio: Studio, make: Make) -> None:
    """Conditions in one batch, then one after the other, as the host does when memory is short."""
    model, latent = make()
    together = studio.sample(model, latent=latent, cfg=1.5)
    batches: list[int] = []

    def watch(executor: Any, x: Tensor, *args: Any, **kw: Any) -> Tensor:
        batches.append(x.shape[0])
        return executor(x, *args, **kw)

    model.add_wrapper_with_key("diffusion_model", "watch", watch)
    base = model.model
    needed, base.memory_required = base.memory_required, lambda *_args, **_kw: 2.0**60
    try:
        apart = studio.sample(model, latent=latent, cfg=1.5)
    finally:
        base.memory_required = needed
    assert set(batches) == {8}
    assert relative(apart, together) < 1e-5


def test_weights_and_range(studio: Studio, video: Any, make: Make) -> None:
    bare = studio.sample(video)
    _, latent = make()

    def run(**inputs: Any) -> Tensor:
        return studio.sample(make(**inputs)[0], latent=latent)

    whole = run()
    assert torch.equal(run(level_weights="1, 1 1,1"), whole)
    assert torch.equal(run(level_weights="0"), bare)
    assert torch.equal(run(start_percent=1.0, end_percent=1.0), bare)
    assert relative(run(level_weights="0, 0, 1, 1"), whole) > 0.005
    first = run(end_percent=0.5)  # the first of two steps
    assert relative(first, bare) > 0.01
    assert relative(first, whole) > 1e-4  # most is settled in the first step


def test_one_image_per_frame(studio: Studio, make: Make, picture: Tensor) -> None:
    many, latent = make(image=picture.expand(8, -1, -1, -1))
    assert relative(studio.sample(many, latent=latent), studio.sample(make()[0], latent=latent)) < 1e-5
    changing = torch.linspace(0, 1, 8).reshape(8, 1, 1, 1) * picture
    clip = studio.sample(make(image=changing)[0], latent=latent)
    assert relative(clip, studio.sample(many, latent=latent)) > 0.01


def test_another_motion_model_with_this_encoder(studio: Studio, motion: Any, make: Make) -> None:
    model = studio.video(schedule="image to video")
    bare = studio.sample(model)
    mixed, latent = make(model=model, encoder=motion)
    assert relative(studio.sample(mixed, latent=latent), bare) > 0.05


def test_windows_count_frames_from_the_start_of_the_clip(
    studio: Studio, make: Make, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if studio.comfy.host.version.startswith("0.3."):
        pytest.skip("this ComfyUI's own windows fail for frames in the batch (corrected in 0.4)")
    model, latent = make(frames=28)
    shown: list[list[int]] = []
    image = studio.host("patches.image")
    frame_numbers = image.frame_numbers

    def watch(options: Any, count: int) -> list[int]:
        shown.append(frame_numbers(options, count))
        return shown[-1]

    monkeypatch.setattr(image, "frame_numbers", watch)
    studio.sample(windows(studio, model, causal_window_fix=False), latent=latent, steps=2)
    assert shown == [list(range(16)), list(range(12, 28))] * 2
    assert counted == [16, 16]  # once a window, not once a step
    shown.clear()
    studio.sample(windows(studio, model), latent=latent, steps=1)
    assert shown == [list(range(16)), [11, *range(12, 28)]]  # the host puts one frame in front


def test_mistakes_are_told(
    studio: Studio, video: Any, make: Make, motion: Any, picture: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(words: str, **inputs: Any) -> None:
        with pytest.raises(ValueError, match=words):
            make(**inputs)

    refused("got the motion model small_t2v.safetensors without an image encoder", model=studio.video())
    refused("got a MODEL without a motion model", model=studio.model)
    refused("got 3 images for 8 frames; expected one, or one per frame", image=picture.expand(3, -1, -1, -1))
    refused("got width 100; expected a multiple of 8. Use 96 or 104", width=100)
    refused("got level_weights 'a lot'; expected 4 numbers from 0 to 2", level_weights="a lot")
    refused("expected 4 numbers", level_weights="1, 1")
    refused("expected 4 numbers", level_weights="1, 1, 1, nan")
    refused("got start_percent 0.9 after end_percent 0.1", start_percent=0.9, end_percent=0.1)
    refused("numbers that are not finite", image=picture * float("nan"))
    refused(r"got an image of shape \(96, 160, 3\)", image=picture[0])
    model, latent = make()
    with pytest.raises(ValueError, match="got a latent of 128x128; expected 64x64"):
        studio.sample(model, latent=studio.empty(8, 128))
    many, _ = make(image=picture.expand(8, -1, -1, -1))
    with pytest.raises(ValueError, match="got 8 reference images for 16 frames"):
        studio.sample(many, latent=studio.empty(16))
    caplog.clear()
    make(model=studio.model, encoder=motion)
    assert any("got a MODEL without a motion model" in r.getMessage() for r in caplog.records)
    assert studio.sample(model, latent=latent).isfinite().all()


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_images(studio: Studio, make: Make, picture: Tensor, channels: int) -> None:
    image = picture[..., :1] if channels == 1 else torch.cat([picture, torch.ones_like(picture[..., :1])], -1)
    expected = picture[..., :1].expand(-1, -1, -1, 3) if channels == 1 else picture
    model, latent = make(image=image)
    assert torch.equal(
        studio.sample(model, latent=latent), studio.sample(make(image=expected)[0], latent=latent)
    )


@pytest.mark.parametrize(("height", "width"), [(64, 64), (31, 97), (200, 20), (1, 1)])
def test_any_size_is_covered_from_its_middle(studio: Studio, height: int, width: int) -> None:
    cover = studio.host("reference").cover
    across = torch.linspace(0, 1, width).reshape(1, 1, width, 1).expand(1, height, width, 3)
    out = cover(across, 64, 48)
    assert out.shape == (1, 48, 64, 3)
    assert out[0, :, 32].mean() == pytest.approx(float(across.mean()), abs=0.03)
    assert torch.allclose(out, out[:, :1].expand_as(out), atol=0.01)


def test_an_interrupt_leaves_nothing_behind(studio: Studio, make: Make) -> None:
    model, latent = make()
    expected = studio.sample(model, latent=latent)

    def stop(*_args: Any, **_kw: Any) -> Tensor:
        raise KeyboardInterrupt

    broken = model.clone()
    broken.add_wrapper_with_key("diffusion_model", "stop", stop)
    with pytest.raises(KeyboardInterrupt):
        studio.sample(broken, latent=latent)
    assert hooks_on(model) == 0
    assert torch.equal(studio.sample(model, latent=latent), expected)


def test_color_align_node(studio: Studio, picture: Tensor) -> None:
    generator = torch.Generator().manual_seed(8)
    frames = torch.rand(5, 24, 24, 3, generator=generator)
    given = {"images": frames, "reference": picture, "mode": "float", "hue": 0.03}
    given |= {"saturation": 1.0, "value": 1.0, "strength": 1.0}

    def run(**inputs: Any) -> Tensor:
        return studio.comfy.run("AnimateLCM_ColorAlign", **(given | inputs))[0]

    aligned, official = run(), run(mode="official")
    assert aligned.shape == official.shape == frames.shape
    assert relative(official, aligned) < 0.05  # the same idea, 8-bit steps apart
    assert torch.equal(run(strength=0.0), frames)
    mask = torch.zeros(12, 12)
    mask[:6] = 1
    assert torch.equal(run(mask=mask)[:, 14:], frames[:, 14:])
    for words, inputs in {
        "got the mode 'Float'": {"mode": "Float"},
        "expected neither": {"mode": "official", "smoothing": 2.0},
        "got 3 references for 5 frames": {"reference": picture.expand(3, -1, -1, -1)},
        "got 2 masks for 5 frames": {"mask": torch.ones(2, 24, 24)},
    }.items():
        with pytest.raises(ValueError, match=words):
            run(**inputs)
