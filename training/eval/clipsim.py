"""CLIPSIM: mean over frames of 100 cos(caption, frame) in CLIP's space (paper 5, Benchmarks).

The paper takes CLIP ViT-H/14 trained on LAION-2B. Any CLIPModel in a local folder, as transformers saves it,
will do; numbers compare within one model only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from ..config import ConfigError
from ..data.media import read_clip
from .intervals import bootstrap, centred_interval
from .rows import cached_rows, digest


@dataclass(frozen=True, eq=False)
class Clip:
    """model: a CLIPModel, frozen; tokenizer: its own; name: folder and digest of the weights."""

    model: Any
    tokenizer: Any
    name: str
    digest: str

    @property
    def size(self) -> tuple[int, int]:
        """Of the pictures it sees."""
        return (self.model.config.vision_config.image_size,) * 2

    @torch.inference_mode()
    def similarity(self, caption: str, frames: Tensor) -> Tensor:
        """100 cos(caption, frame) of frames (f, 3, *size) uint8; (f,) float32.

        The projections are taken from the model's parts: what `get_text_features` returns differs between
        releases of transformers.
        """
        model, device = self.model, self.model.device
        tokens = self.tokenizer([caption], truncation=True, return_tensors="pt").to(device)
        mean, std = (
            torch.tensor(v, device=device)[:, None, None] for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
        )
        text = model.text_projection(model.text_model(**tokens).pooler_output)
        pictures = (frames.to(device).float() / 255 - mean) / std
        image = model.visual_projection(model.vision_model(pixel_values=pictures).pooler_output)
        return 100 * F.cosine_similarity(text, image).float()


def load_clip(folder: Path, device: torch.device | str = "cpu") -> Clip:
    """The CLIP model in `folder`; nothing is downloaded. Raises ConfigError for a folder that holds none."""
    from transformers import CLIPModel, CLIPTokenizer

    weights = sorted([*folder.glob("model*.safetensors")] or [*folder.glob("pytorch_model*.bin")])
    wanted = ["config.json", "tokenizer.json or vocab.json"]
    there = [(folder / "config.json").is_file(), any((folder / n).is_file() for n in wanted[1].split(" or "))]
    if not (all(there) and weights):
        lacking = [name for name, found in zip(wanted, there, strict=True) if not found]
        raise ConfigError(
            f"got --clip {folder} without {', '.join([*lacking, *([] if weights else ['model weights'])])}; "
            "expected a folder with a CLIPModel of transformers and its tokenizer, such as a copy of "
            "laion/CLIP-ViT-H-14-laion2B-s32B-b79K. Nothing is downloaded: fetch it first."
        )
    try:
        found: Any = CLIPModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # every reader inside raises its own
        said = str(error).splitlines()[0]
        raise ConfigError(
            f"got --clip {folder}, which cannot be read ({said}); expected a CLIPModel."
        ) from None
    model, about = found
    if about["missing_keys"]:
        raise ConfigError(
            f"got --clip {folder} without {sorted(about['missing_keys'])[0]}; expected both halves of a "
            "CLIPModel. A text or vision model alone measures nothing."
        )
    model.eval().requires_grad_(False).to(device)
    tokenizer.model_max_length = model.config.text_config.max_position_embeddings
    return Clip(model, tokenizer, folder.resolve().name, digest(weights))


def clipsim(
    clip: Clip, clips: Sequence[Path], captions: Sequence[str], frames: int, cache: Path
) -> dict[str, Any]:
    """Mean over clips of each one's mean over frames, and its 95 % interval; rows are cached in `cache`."""

    def row(number: int) -> Tensor:
        pixels = read_clip(clips[number], frames, 1, clip.size, 0.0)
        return clip.similarity(captions[number], pixels).mean()[None]

    values = cached_rows(cache, len(clips), row)[:, 0].double()
    point = float(values.mean())
    draws = bootstrap(lambda drawn: float(values[drawn].mean()), len(values))
    interval = [round(end, 3) for end in centred_interval(draws, point)]
    return {"clipsim": round(point, 3), "clipsim_interval95": interval}
