"""What the patches share: how they hang on a MODEL, a run's cache, other packs' words, the host's version."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from support.studio import Studio


def hung(model: Any, key: str) -> dict[str, Any]:
    """Everything under `key` on MODEL."""
    return {
        "wrappers": {kind: found[key] for kind, found in model.wrappers.items() if key in found},
        "additional": model.get_additional_models_with_key(key),
        "attachment": model.get_attachment(key),
    }


def test_hanging_replaces_and_unhanging_leaves_nothing(studio: Studio) -> None:
    attachment = studio.host("patches.attachment")
    plain, additional = studio.model.clone(), studio.motion.patcher
    model, before = plain.clone(), hung(plain, "ours")
    model.add_wrapper_with_key("apply_model", "theirs", print)
    attachment.hang(model, "ours", {"apply_model": min, "outer_sample": max}, [additional], "note")
    attachment.hang(model, "ours", {"apply_model": max}, [additional], "other note")
    assert hung(model, "ours") == {
        "wrappers": {"apply_model": [max]},
        "additional": [additional],
        "attachment": "other note",
    }
    attachment.unhang(model, "ours")
    assert hung(model, "ours") == before
    assert model.wrappers["apply_model"] == {"theirs": [print]}


def test_a_patch_hangs_under_its_own_key_only(studio: Studio) -> None:
    """What a clone of a patched MODEL gets or loses does not reach the patched one."""
    motion = studio.host("patches.motion")
    video = studio.video()
    before = hung(video, motion.KEY)
    none = motion.with_motion(video, studio.motion, strength=0.0)
    assert hung(none, motion.KEY)["wrappers"] == {}
    assert hung(video, motion.KEY) == before


def test_names_stay_with_their_networks(studio: Studio) -> None:
    names = studio.motion.names
    module = studio.motion.model
    assert names.of(module) == names.of(module)
    assert names.of(module) != names.of(studio.other_motion.model)


def test_a_runs_cache_is_found_by_its_evaluations_and_gone_afterwards(studio: Studio) -> None:
    made = studio.host("patches.run_cache")
    guider = SimpleNamespace(model_options={"other": 1})
    with suppress(KeyboardInterrupt), made.run_cache(guider, "ours", 33) as cache:
        assert made.cache_of(guider.model_options, "ours", 16) is cache
        assert cache.frames == 33
        assert cache.get("a", [0, 1], lambda: "first") == "first"
        assert cache.get("a", [0, 1], lambda: "second") == "first"
        assert cache.get("a", [1, 2], lambda: "other frames") == "other frames"
        assert cache.get("b", range(made.CACHED_FRAMES), lambda: "too long to keep") == "too long to keep"
        assert cache.cached_frames == 4
        raise KeyboardInterrupt
    assert guider.model_options == {"other": 1}
    assert cache.cached_frames == 0
    assert made.cache_of(guider.model_options, "ours", 16).frames == 16


def test_windows_of_the_host_and_of_another_pack(studio: Studio) -> None:
    window_of = studio.host("patches.evaluation").window_of

    def shown(count: int, **options: Any) -> list[int] | None:
        return window_of({"transformer_options": options}, count)

    plain = SimpleNamespace(dim=0, index_list=[4, 5, 6])
    anchored = SimpleNamespace(dim=0, index_list=[4, 5, 6], causal_anchor_index=3)
    other_axis = SimpleNamespace(dim=2, index_list=[4, 5, 6])
    assert shown(3, context_window=plain) == [4, 5, 6]
    assert shown(4, context_window=anchored) == [3, 4, 5, 6]
    assert shown(3, context_window=other_axis) is None
    assert shown(2, context_window=plain) is None
    assert shown(2, context_window=plain, ad_params={"sub_idxs": [8, 9]}) == [8, 9]
    assert shown(2, ad_params={"sub_idxs": None}) is None


def test_another_packs_words_are_added_and_never_replaced(studio: Studio) -> None:
    told = studio.host("interop").options_with_window
    options: dict[str, Any] = {"transformer_options": {"other": 1}, "more": 2}
    words = {"sub_idxs": [3, 4], "full_length": 9, "context_length": 2}
    assert told(options, [3, 4], 9) == {"transformer_options": {"other": 1, "ad_params": words}, "more": 2}
    assert options == {"transformer_options": {"other": 1}, "more": 2}
    theirs = {"transformer_options": {"ad_params": {"sub_idxs": [0, 1]}}}
    assert told(theirs, [3, 4], 9) == theirs


def test_the_host_is_asked_for_the_arguments_it_knows(studio: Studio) -> None:
    compat = studio.host("compat")
    assert compat.known_arguments(lambda a, b=1: None, {"b": 2, "c": 3}) == {"b": 2}
    assert not compat.is_dynamic(object())
    assert compat.patcher_class(disable_dynamic=True).__name__ == "ModelPatcher"
    assert not compat.may_load_on_demand(compat.patcher_class(disable_dynamic=True))
