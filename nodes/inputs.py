"""Inputs that several nodes share, so that they read the same everywhere."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..animatelcm_core.host.checks import MIN_FRAMES, check_choice
from ..animatelcm_core.host.compat import widget
from ..animatelcm_core.schedule import SCHEDULES, Schedule

CATEGORY = "AnimateLCM"
MOTION_TYPE: Any = io.Custom("ANIMATELCM_MOTION")
AUTO, KEEP = "auto", "keep"
MOST_FRAMES = 64

SCHEDULE_TOOLTIP = (
    "Noise schedule, which must be the one the motion model was made for. text to video and image to video: "
    "AnimateLCM's own. soft: less contrast, which many prefer for text to video. animatediff: undistilled "
    "AnimateDiff models (20 or more steps, cfg 7, any sampler)."
)


def schedule_input(*extra: str, default: str) -> Any:
    """Choice of a schedule; `extra`: auto and keep, for nodes where they make sense."""
    about = {
        AUTO: " auto: read it from the motion model's file.",
        KEEP: " keep: leave the MODEL's own schedule.",
    }
    return widget(
        io.Combo,
        "schedule",
        options=[*extra[:1], *SCHEDULES, *extra[1:]],
        default=default,
        tooltip=SCHEDULE_TOOLTIP + "".join(about[name] for name in extra),
    )


def chosen_schedule(choice: str, own: str) -> Schedule:
    """The chosen schedule; `own`: the motion model's, for auto. Raises ValueError for an unknown choice."""
    return SCHEDULES[check_choice("schedule", own if choice == AUTO else choice, SCHEDULES)]


def denoise_input() -> Any:
    """How much of the schedule is sampled."""
    return widget(
        io.Float,
        "denoise",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="Share of the schedule that is sampled, 0 to 1. 1: from pure noise. A lower value keeps more "
        "of the latent that comes in (video to video); 0 returns it as it is. The number of "
        "steps stays the same.",
    )


def steps_input() -> Any:
    """The number of sampling steps."""
    return widget(
        io.Int,
        "steps",
        default=4,
        min=1,
        max=100,
        tooltip="Number of sampling steps, 1 to 100. AnimateLCM is made for 4 to 8; 1 or 2 give a "
        "rough sketch.",
    )


def pixels_input(name: str) -> Any:
    """Width or height of the clip."""
    return widget(
        io.Int,
        name,
        default=512,
        min=64,
        max=2048,
        step=8,
        tooltip=f"{name.capitalize()} of the clip in pixels, 64 to 2048, a multiple of 8. SD1.5 works "
        "best around 512.",
    )


def frames_input() -> Any:
    """The length of the clip."""
    return widget(
        io.Int,
        "frames",
        default=16,
        min=1,
        max=4096,
        tooltip="Length of the clip in frames, 1 to 4096; at 8 frames a second 16 are two seconds. Clips "
        f"under {MIN_FRAMES} fall apart; clips over {MOST_FRAMES} need AnimateLCM Long Video.",
    )


def percent_input(name: str, default: float, tooltip: str, optional: bool = False) -> Any:
    """Where in the sampling something starts to act, or stops."""
    return widget(
        io.Float,
        name,
        default=default,
        min=0.0,
        max=1.0,
        step=0.01,
        optional=optional,
        advanced=True,
        tooltip=tooltip,
    )
