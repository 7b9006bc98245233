"""The schedule patch: a MODEL that samples on a schedule of this pack."""

from __future__ import annotations

from typing import Any

from comfy.patcher_extension import WrappersMP

from ...schedule import Schedule
from ..checks import check_base, check_predicts_noise
from ..sampling.model_sampling import ScheduleSampling
from .attachment import hang
from .run_wrappers import watch_settings

KEY = "animatelcm.schedule"


def with_schedule(model: Any, schedule: Schedule) -> Any:
    """A clone of MODEL that samples on `schedule`; a schedule set before is replaced.

    Raises ValueError for a base that is not SD1.5 or does not predict noise.
    """
    check_base(model)
    check_predicts_noise(model)
    model = model.clone()
    model.add_object_patch("model_sampling", ScheduleSampling(schedule))
    hang(model, KEY, {WrappersMP.OUTER_SAMPLE: watch_settings})
    return model
