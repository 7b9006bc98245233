"""The front door's client, with outputs as arrays."""

from __future__ import annotations

import io

import av
import numpy as np
from PIL import Image
from safetensors.torch import load
from torch import Tensor

from frontdoor import api
from frontdoor.api import Run


class Client(api.Client):
    """Queue prompts, follow them, and read what SaveImage, SaveVideo and SaveLatent wrote."""

    def images(self, run: Run, node: str) -> np.ndarray:
        """Pictures of a SaveImage or PreviewImage node: (frames, height, width, 3), uint8."""
        files = self.files(run, node)
        return np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in files])

    def video(self, run: Run, node: str) -> np.ndarray:
        """Frames of a SaveVideo node: (frames, height, width, 3), uint8. The file is compressed with loss."""
        (data,) = self.files(run, node)
        with av.open(io.BytesIO(data)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])

    def latent(self, run: Run, node: str) -> Tensor:
        """Tensor of a SaveLatent node: (frames, 4, height / 8, width / 8), exactly as it was."""
        (data,) = self.files(run, node, key="latents")
        return load(data)["latent_tensor"]
