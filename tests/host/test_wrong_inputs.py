"""Whatever is put into an input, a node says what it got, what it expects and what to do, by its name.

ANIMATELCM_WRONG_INPUTS=20000 tries more of them, ANIMATELCM_SEED=7 others.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import Any

import pytest
import torch
from support.client import Client
from support.studio import Studio
from support.wrong_inputs import Bench, Case

from frontdoor.api import Failed, Rejected

TRIED = int(os.environ.get("ANIMATELCM_WRONG_INPUTS", "600"))
SEED = int(os.environ.get("ANIMATELCM_SEED", "1"))
LONGEST = 1000  # of a message


@pytest.fixture(scope="module")
def bench(studio: Studio) -> Bench:
    return Bench(studio)


def complaint(bench: Bench, case: Case) -> str:
    """What is wrong with the answer to a case; empty for an error in plain words."""
    node = bench.studio.comfy.node(case.node)
    try:
        bench.studio.comfy.run(case.node, **(bench.right(node) | {case.input: case.value}))
    except Exception as error:
        return faults(error, case.input)
    return "it ran"


def faults(error: Exception, name: str) -> str:
    """What an error lacks."""
    said = str(error)
    good = isinstance(error, ValueError) and "got " in said and "; expected " in said and said.endswith(".")
    if good and name in said and len(said) <= LONGEST and said.isascii() and said.isprintable():
        return ""
    return f"{type(error).__name__}: {said[:300]}"


def test_every_kind_of_input_has_its_check(bench: Bench) -> None:
    inputs = bench.studio.host("inputs")
    known = {*inputs.WIDGETS, *inputs.LINKS}
    for node in bench.nodes():
        assert {str(item.get_io_type()) for item in node.define_schema().inputs or []} <= known
        assert node.execute.__func__.__wrapped__, "an execute without @checked"


def test_right_inputs_are_let_through(bench: Bench) -> None:
    inputs = bench.studio.host("inputs")
    for node in bench.nodes():
        inputs.check_inputs(node.define_schema().inputs or [], bench.right(node))


def test_wrong_inputs_are_told(bench: Bench) -> None:
    bad = []
    for case in islice(bench.cases(SEED), TRIED):
        if said := complaint(bench, case):
            bad.append(f"{case.node}.{case.input}, {case.what}: {said}")
    print(f"seed {SEED}: {TRIED - len(bad)} of {TRIED} wrong inputs were told in plain words")
    assert not bad, "\n".join([f"{len(bad)} of {TRIED}, seed {SEED}", *bad[:40]])


def test_a_server_lives_on(client: Client, studio: Studio) -> None:
    bench = Bench(studio)
    literals: list[Any] = [None, 5, "x" * 10_000, {"a": [1]}, float("nan"), {}, "nan"]
    told = 0
    for number, node in enumerate(bench.nodes()):
        schema = node.define_schema()
        plain = {k: v if isinstance(v, str | int | float) else 5 for k, v in bench.right(node).items()}
        for item in (schema.inputs or [])[:2]:
            given = plain | {item.id: literals[number % len(literals)]}
            show = {"class_type": "PreviewAny", "inputs": {"source": ["it", 0]}}
            try:
                client.run({"it": {"class_type": schema.node_id, "inputs": given}, "show": show})
            except Rejected:
                continue  # by the host, before the node was asked
            except Failed as failed:
                error = failed.run.error or {}
                said = str(error.get("exception_message"))
                assert "got " in said, (schema.node_id, item.id, said)
                assert len(said) <= LONGEST
                told += 1
    assert told >= 5
    assert client.get("/system_stats")["system"]


def sampled(studio: Studio, latent: Any, **other: Any) -> torch.Tensor:
    return studio.sample(studio.video(), latent=latent, **other)


@pytest.mark.parametrize("shape", [(8, 4, 1, 1), (8, 4, 5, 7), (1, 4, 8, 8)])
def test_odd_sizes_are_sampled(studio: Studio, shape: tuple[int, ...]) -> None:
    clip = sampled(studio, {"samples": torch.zeros(shape)})
    assert clip.shape == shape
    assert clip.isfinite().all()


def test_empty_latents_of_other_models_are_fitted_and_others_refused(studio: Studio) -> None:
    assert sampled(studio, {"samples": torch.zeros(8, 16, 8, 8)}).shape == (8, 4, 8, 8)
    for channels in (3, 8, 16):
        with pytest.raises(ValueError, match=rf"\(8, {channels}, 8, 8\).*; expected frames of SD1.5"):
            sampled(studio, {"samples": torch.ones(8, channels, 8, 8)})


def test_batch_index_and_masks_that_fit_are_used(studio: Studio) -> None:
    whole = sampled(studio, {"samples": torch.zeros(9, 4, 8, 8)}, steps=1)
    parts = {"samples": torch.zeros(8, 4, 8, 8), "batch_index": list(range(8))}
    assert torch.equal(sampled(studio, parts, steps=1), sampled(studio, studio.empty(8), steps=1))
    assert whole.isfinite().all()
    for shape in ((64, 64), (1, 64, 64), (8, 1, 8, 8)):
        kept = {"samples": torch.ones(8, 4, 8, 8), "noise_mask": torch.zeros(shape)}
        assert torch.allclose(sampled(studio, kept), torch.ones(8, 4, 8, 8), atol=1e-5)


def test_text_of_another_kind_of_model(studio: Studio) -> None:
    other = [[torch.ones(1, 77, 2048), {}]]
    with pytest.raises(ValueError, match="got text features 2048 wide for positive; expected"):
        studio.sample(studio.video(), positive=other)
    with pytest.raises(ValueError, match="wide for negative"):
        studio.sample(studio.video(), negative=other, cfg=1.5)
    assert studio.sample(studio.video(), negative=other).isfinite().all()  # cfg 1: nobody looks at it


def test_a_black_clip_is_an_error(studio: Studio) -> None:
    model = studio.video().clone()
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * float("nan"))
    with pytest.raises(ValueError, match=r"(?s)got a clip with numbers that are not finite at cfg 1;.*fp32"):
        studio.sample(model)


def test_a_vae_that_overflows_is_told(studio: Studio) -> None:
    class Overflows:
        def encode(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.full((len(pixels), 4, 8, 8), float("nan"))

    with pytest.raises(ValueError, match="not finite from this VAE.*--fp32-vae"):
        studio.host("reference").reference_latents(Overflows(), torch.zeros(1, 64, 64, 3), 64, 64)


@pytest.mark.parametrize("mode", ["canny", "soft"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (3, 2), (20, 7)])
@pytest.mark.parametrize(("low", "smoothing"), [(0.0, 0.1), (0.0, 1.0), (0.4, 16.0)])
def test_edges_of_the_smallest_pictures(
    studio: Studio, mode: str, size: tuple[int, int], low: float, smoothing: float
) -> None:
    images = torch.rand(2, *size, 3, generator=torch.Generator().manual_seed(1))
    given = {"low_threshold": low, "high_threshold": 0.8, "smoothing": smoothing}
    (hints,) = studio.comfy.run("AnimateLCM_EdgeHints", images=images, mode=mode, **given)
    assert hints.shape == images.shape
    assert hints.isfinite().all()


def test_masks_of_any_type_of_number_are_used(studio: Studio) -> None:
    def aligned(mask: torch.Tensor) -> torch.Tensor:
        given = {"mode": "float", "hue": 0.0, "saturation": 1.0, "value": 1.0, "strength": 1.0, "mask": mask}
        frames = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(1))
        return studio.comfy.run("AnimateLCM_ColorAlign", images=frames, reference=frames[:1] / 2, **given)[0]

    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6] = 1
    for dtype in (torch.bool, torch.int64, torch.float16, torch.float64):
        assert torch.equal(aligned(mask.to(dtype)), aligned(mask))
