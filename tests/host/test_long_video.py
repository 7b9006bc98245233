"""Clips longer than one window: which frames go together, and that everything per frame goes with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import small_files
from support.controls import applied, controlnet, hints_seen, numbered, t2i_adapter
from support.studio import Studio, relative
from test_other_packs import windows as host_windows
from torch import Tensor

NODE = "AnimateLCM_LongVideo"
STANDARD_33 = [list(range(a, a + 16)) for a in (0, 8, 17)]
CONTROLS = {"controlnet": controlnet, "t2i_adapter": t2i_adapter}


def long(studio: Studio, model: Any, **settings: Any) -> Any:
    given = {
        "context_length": 16,
        "overlap": 4,
        "schedule": "standard",
        "fuse": "pyramid",
        "freenoise": False,
    }
    return studio.comfy.run(NODE, model=model, **(given | settings))[0]


def recorded(model: Any) -> tuple[Any, list[dict[str, Any]]]:
    """A clone of MODEL and what every evaluation of a window is handed: x, conds, transformer options."""
    seen: list[dict[str, Any]] = []

    def watch(executor: Any, base: Any, conds: Any, x: Tensor, t: Tensor, options: Any, *a: Any) -> Any:
        seen.append({"x": x.clone(), "conds": conds, "options": dict(options["transformer_options"])})
        return executor(base, conds, x, t, options, *a)

    model = model.clone()
    model.add_wrapper_with_key("calc_cond_batch", "recorded", watch)
    return model, seen


def frames_of(seen: list[dict[str, Any]]) -> list[list[int]]:
    return [list(one["options"]["context_window"].index_list) for one in seen]


@pytest.mark.parametrize("frames", [24, 33, 64, 128])
def test_any_length(studio: Studio, frames: int) -> None:
    model, seen = recorded(long(studio, studio.video()))
    clip = studio.sample(model, frames, steps=1)
    assert clip.shape == (frames, 4, 8, 8)
    assert clip.isfinite().all()
    assert frames_of(seen) == studio.host("...context").standard(frames, 16, 4, 0)
    assert all(len(window) == 16 for window in frames_of(seen))


def test_one_window_is_sampled_as_without(studio: Studio) -> None:
    expected = studio.sample(studio.video(), 16)
    assert torch.equal(studio.sample(long(studio, studio.video(), freenoise=True), 16), expected)
    assert torch.equal(studio.sample(studio.video(long(studio, studio.model)), 16), expected)


@pytest.mark.parametrize("schedule", ["standard", "looped", "batched"])
@pytest.mark.parametrize("fuse", ["pyramid", "linear", "flat"])
def test_windows_are_averaged(studio: Studio, schedule: str, fuse: str) -> None:
    """One step of a run of windows is the weighted mean of runs of its windows alone."""
    frames, overlap = 33, 0 if fuse == "linear" and schedule == "batched" else 4
    model = long(studio, studio.video(), schedule=schedule, fuse=fuse, overlap=overlap)
    got = studio.sample(model, frames, steps=1)
    noise = studio.comfy.module("comfy.sample").prepare_noise(studio.empty(frames)["samples"], 1)
    context = studio.host("...context")
    total, weights = torch.zeros_like(got), torch.zeros(frames, 1, 1, 1)
    for window in context.SCHEDULES[schedule](frames, 16, overlap, 0):
        alone = sampled_from(studio, noise[window])
        weight = torch.tensor(context.FUSES[fuse](len(window), overlap)).reshape(-1, 1, 1, 1)
        total[window] += weight * alone
        weights[window] += weight
    assert relative(got, total / weights) < 1e-4


def sampled_from(studio: Studio, noise: Tensor) -> Tensor:
    """One step of a short clip from this noise."""
    model = studio.video()
    sampling, sampler = studio.host("sampling.run"), studio.host("sampling.lcm").lcm_sampler()
    with torch.inference_mode():
        return studio.comfy.module("comfy.sample").sample_custom(
            model,
            noise,
            1.0,
            sampler,
            sampling.sigmas_for(model, 1),
            studio.positive,
            studio.negative,
            torch.zeros_like(noise),
            seed=1,
        )


def test_looped_windows_move_on_and_wrap(studio: Studio) -> None:
    model, seen = recorded(long(studio, studio.video(), schedule="looped"))
    studio.sample(model, 40, steps=3)
    looped = studio.host("...context").looped
    assert frames_of(seen) == [window for step in range(3) for window in looped(40, 16, 4, step)]


@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("cfg", [1.0, 1.5])
def test_hints_go_with_their_frames(studio: Studio, kind: str, cfg: float) -> None:
    control = CONTROLS[kind](studio)
    positive, negative = applied(studio, control, numbered(33))
    model = long(studio, studio.video())
    with hints_seen(control) as seen:
        studio.sample(model, 33, cfg=cfg, positive=positive, negative=negative)
    given = [hints[:16] for hints in seen]
    assert all(hints == hints[:16] * (len(hints) // 16) for hints in seen)
    if kind == "controlnet":
        each = STANDARD_33 if len(seen) == 6 else [w for w in STANDARD_33 for _ in range(len(seen) // 6)]
        assert given == each * 2
    else:  # once a window and condition, kept for the other steps
        assert [w for w in STANDARD_33 if w in given] == STANDARD_33
        assert len(given) <= 6


def test_a_chain_of_controls(studio: Studio) -> None:
    first, second = controlnet(studio), t2i_adapter(studio)
    both = applied(studio, second, numbered(33), applied(studio, first, numbered(33)))
    model = long(studio, studio.video())
    with hints_seen(first) as one, hints_seen(second) as other:
        clip = studio.sample(model, 33, steps=1, positive=both[0], negative=both[1])
    assert one == other == STANDARD_33
    alone = applied(studio, first, numbered(33))
    assert relative(clip, studio.sample(model, 33, steps=1, positive=alone[0])) > 1e-3


@pytest.mark.parametrize("count", [1, 10, 40])
def test_hints_of_another_number(studio: Studio, count: int, caplog: pytest.LogCaptureFixture) -> None:
    control = controlnet(studio)
    positive, _ = applied(studio, control, numbered(count, 40))  # of another size as well
    with hints_seen(control) as seen:
        studio.sample(long(studio, studio.video()), 33, steps=1, positive=positive)
    expected = [[frame % count for frame in window] for window in STANDARD_33]
    assert seen == ([[0]] * 3 if count == 1 else expected)
    said = [r.getMessage() for r in caplog.records if "hints for 33 frames" in r.getMessage()]
    told = {1: "", 10: "repeated from the start", 40: "the rest is left out"}[count]
    assert len(said) == (count > 1)
    assert all(told in line for line in said)


def test_the_hosts_own_windows_get_their_hints(studio: Studio) -> None:
    if studio.comfy.host.version.startswith("0.3."):
        pytest.skip("this ComfyUI's own windows fail for frames in the batch (corrected in 0.4)")
    control = controlnet(studio)
    positive, _ = applied(studio, control, numbered(28))
    for anchor, second in ((False, range(12, 28)), (True, (11, *range(12, 28)))):
        model = host_windows(studio, studio.video(), causal_window_fix=anchor)
        with hints_seen(control) as seen:
            studio.sample(model, 28, steps=1, positive=positive)
        assert seen == [list(range(16)), list(second)]


def test_prompts_and_masks_per_frame(studio: Studio) -> None:
    (tensor, options), *_ = studio.positive
    many = tensor.expand(33, -1, -1).clone()
    many[:, 0, 0] = torch.arange(33)
    mask = (torch.arange(33) / 33).reshape(-1, 1, 1).expand(-1, 8, 8)
    positive = [[many, {**options, "mask": mask, "mask_strength": 1.0}]]
    model, seen = recorded(long(studio, studio.video()))
    assert studio.sample(model, 33, steps=1, positive=positive).isfinite().all()
    for one, window in zip(seen, STANDARD_33, strict=True):
        (cond,) = one["conds"][0] or one["conds"][1]
        assert cond["model_conds"]["c_crossattn"].cond[:, 0, 0].tolist() == window
        assert torch.allclose(cond["mask"][:, 0, 0] * 33, torch.tensor(window, dtype=torch.float32))


def test_controls_that_cut_themselves_are_told_the_frames(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    """As ComfyUI-Advanced-ControlNet has them, and copies of a control for other devices."""
    cutter = studio.host("patches.control_hints")
    control = controlnet(studio).set_cond_hint(numbered(5).movedim(-1, 1))
    control.sub_idxs = control.full_latent_length = control.context_length = None
    made = cutter.cut_control(control, [3, 4, 5], 9)
    assert (made.sub_idxs, made.full_latent_length, made.context_length) == ([3, 4, 5], 9, 3)
    assert made.cond_hint_original is control.cond_hint_original
    assert control.sub_idxs is None
    assert cutter.hint_warnings([control], 9) == []
    first, other = controlnet(studio), controlnet(studio)
    for one in (first, other):
        one.set_cond_hint(numbered(9).movedim(-1, 1))
    first.multigpu_clones = {torch.device("cpu", 1): other}
    (copied,) = cutter.cut_control(first, [3, 4, 5], 9).multigpu_clones.values()
    assert (copied.cond_hint_original[:, 0, 0, 0] * 256).round().tolist() == [3, 4, 5]


def test_other_packs_are_told_the_window(studio: Studio) -> None:
    told: list[Any] = []

    def watch(executor: Any, x: Tensor, t: Tensor, context: Any, y: Any, control: Any, options: Any) -> Any:
        told.append(options["ad_params"])
        return executor(x, t, context, y, control, options)

    model = long(studio, studio.video())
    model.add_wrapper_with_key("diffusion_model", "watch", watch)
    studio.sample(model, 33, steps=1)
    assert [one["sub_idxs"] for one in told] == STANDARD_33
    assert {(one["full_length"], one["context_length"]) for one in told} == {(33, 16)}


def test_the_reference_image_runs_on(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    motion = studio.load_motion(small_files.IMAGE_MOTION)
    with torch.inference_mode():
        model = studio.host("patches.motion").with_motion(studio.model, motion)
    model = studio.scheduled(model, "image to video")
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    given = {"vae": studio.base[2], "image": picture, "width": 64, "height": 64, "motion_scale": 0.8}
    model, latent = studio.comfy.run("AnimateLCM_ImageToVideo", model=model, frames=33, **given)
    shown: list[list[int]] = []
    image = studio.host("patches.image")
    frame_numbers = image.frame_numbers

    def watch(options: Any, count: int) -> list[int]:
        shown.append(frame_numbers(options, count))
        return shown[-1]

    monkeypatch.setattr(image, "frame_numbers", watch)
    studio.sample(long(studio, model), latent=latent, steps=1)
    assert shown == STANDARD_33


def test_what_is_kept_does_not_grow(studio: Studio) -> None:
    control = controlnet(studio)
    positive, _ = applied(studio, control, numbered(1).repeat(128, 1, 1, 1))
    model = long(studio, studio.video())
    key, limit = studio.host("patches.control_hints").KEY, studio.host("patches.run_cache").CACHED_FRAMES
    cached, caches = [], set()

    def watch(executor: Any, *args: Any) -> Any:
        cache = args[4][key]
        caches.add(cache)
        cached.append(cache.cached_frames)
        return executor(*args)

    model.add_wrapper_with_key("calc_cond_batch", "watch", watch)
    studio.sample(model, 128, steps=1, positive=positive)
    assert 0 < max(cached) <= limit
    (of_the_run,) = caches
    assert of_the_run.cached_frames == 0
    assert key not in model.model_options
    assert control.cond_hint is None


def test_freenoise(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start and between the steps every window has the pieces of noise of the first."""
    sampling = studio.host("sampling.model_sampling").ScheduleSampling
    drawn: list[Tensor] = []
    scaling = sampling.noise_scaling

    def watch(self: Any, sigma: Any, noise: Tensor, *args: Any, **kw: Any) -> Tensor:
        drawn.append(noise.clone())
        return scaling(self, sigma, noise, *args, **kw)

    monkeypatch.setattr(sampling, "noise_scaling", watch)
    free = long(studio, studio.video(), freenoise=True)
    for run in (studio.sample, studio.ksampler):
        drawn.clear()
        run(free, 33, steps=2, seed=3)
        shuffled = list(drawn)
        drawn.clear()
        run(long(studio, studio.video()), 33, steps=2, seed=3)
        assert len(shuffled) == len(drawn) == 2
        order = studio.host("...context").freenoise_order(STANDARD_33, 33, 3)
        for ours, own in zip(shuffled, drawn, strict=True):
            assert torch.equal(ours, own[order])
    assert sorted(order[8:24]) == list(range(16))


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_sde", "euler_ancestral"])
def test_samplers_that_evaluate_between_steps(studio: Studio, sampler: str) -> None:
    model = long(studio, studio.video(schedule="animatediff"), schedule="looped")
    got = studio.ksampler(model, 24, steps=3, cfg=3.0, sampler_name=sampler, scheduler="normal")
    assert got.isfinite().all()


def test_an_interrupt_leaves_whole_hints(studio: Studio) -> None:
    control = controlnet(studio)
    (positive, _), model = applied(studio, control, numbered(33)), studio.video()
    expected = studio.sample(long(studio, model), 33, steps=1, positive=positive)

    def stop(*_args: Any, **_kw: Any) -> Tensor:
        raise KeyboardInterrupt

    broken = model.clone()
    broken.add_wrapper_with_key("diffusion_model", "stop", stop)
    for halted, frames in ((broken, 16), (long(studio, broken), 33)):
        with pytest.raises(KeyboardInterrupt):
            studio.sample(halted, frames, steps=1, positive=positive)
    assert torch.equal(studio.sample(long(studio, model), 33, steps=1, positive=positive), expected)


def test_the_last_windows_count(studio: Studio) -> None:
    model = long(studio, studio.video(), schedule="batched")
    again, seen = recorded(long(studio, model, overlap=8))
    studio.sample(again, 24, steps=1)
    assert frames_of(seen) == [list(range(16)), list(range(8, 24))]


def test_mistakes_are_told(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    model = studio.video()
    for words, settings in {
        "got an overlap of 16 frames with context_length 16; expected less": {"overlap": 16},
        "got the schedule 'static'; expected one of standard, looped, batched": {"schedule": "static"},
        "got the fuse 'mean'": {"fuse": "mean"},
    }.items():
        with pytest.raises(ValueError, match=words):
            long(studio, model, **settings)
    long(studio, model, context_length=4, overlap=2)
    assert any("got a context_length of 4" in r.getMessage() for r in caplog.records)
    with pytest.raises(ValueError, match="got 70 frames; expected at most 64.*AnimateLCM Long Video"):
        studio.sample(model, 70)
