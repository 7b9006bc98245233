"""Sets the schedule of a MODEL."""

from __future__ import annotations

from typing import Any

from ...schedule import Schedule
from ..checks import check_base, check_predicts_noise
from ..sampling.model_sampling import ScheduleSampling
from .run_wrappers import watch_schedule


def with_schedule(model: Any, schedule: Schedule) -> Any:
    """A clone of MODEL that samples on `schedule`; a schedule set before is replaced.

    Raises ValueError for a base that is not SD1.5 or does not predict noise.
    """
    check_base(model)
    check_predicts_noise(model)
    model = model.clone()
    model.add_object_patch("model_sampling", ScheduleSampling(schedule))
    watch_schedule(model)
    return model


def schedule_of(model: Any) -> Schedule | None:
    """The schedule of ours that MODEL samples on, or None."""
    sampling = model.get_model_object("model_sampling")
    return sampling.schedule if isinstance(sampling, ScheduleSampling) else None
