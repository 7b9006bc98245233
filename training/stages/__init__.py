"""Everything that can be trained, a file a stage: its config, what it needs, its step, its export.

A new stage is a file here and a row in `STAGES`.
"""

from __future__ import annotations

from typing import Any

from .adapter import AdapterStage
from .control import ControlStage
from .image import ImageStage
from .image_to_video import ImageToVideoStage
from .stage import Stage
from .video import VideoStage

STAGES: dict[str, type[Stage[Any]]] = {
    "image": ImageStage,
    "video": VideoStage,
    "image-to-video": ImageToVideoStage,
    "control": ControlStage,
    "adapter": AdapterStage,
}
