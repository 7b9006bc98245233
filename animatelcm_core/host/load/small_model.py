"""Loads Stable-Diffusion-shaped checkpoints of any size, built from the host's own classes.

The host knows SD1.5 by its sizes, so a smaller one must say its own: a JSON text under `animatelcm.shapes` in
the file's metadata with the sizes of `unet`, `text` and `vae`. Keys are those of a usual single-file
checkpoint. The results are ordinary MODEL, CLIP and VAE: LoRA, ControlNet and sampler nodes work on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import comfy.supported_models
import comfy.utils
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...formats import FormatError, read_tensors, reading
from ..compat import is_dynamic, make_clip, patcher_class
from .small_sizes import METADATA_KEY, SizesError, check_weights, parse_sizes

USE_DEMO = "Use the demo file that comes with this pack."
UNET_PREFIX = "model.diffusion_model."


class SmallSD15(comfy.supported_models.SD15):
    """SD1.5 whose `unet_config` gives its own heads."""

    unet_extra_config: dict[str, Any] = {}


def is_small(path: str) -> bool:
    """Whether the file says its own sizes."""
    if not path.lower().endswith((".safetensors", ".sft")):
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return METADATA_KEY in (file.metadata() or {})
    except SafetensorError:  # damaged, which its loader says better
        return False


def read_small(path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and sizes of the checkpoint at `path`. Raises FormatError if it does not say its sizes, or
    sizes that it cannot have."""
    tensors, metadata = read_tensors(path)
    try:
        sizes = parse_sizes(metadata.get(METADATA_KEY, ""))
    except SizesError as error:
        raise FormatError(
            f"{Path(path).name} without the sizes of its networks ({error})",
            f"them under {METADATA_KEY} in its metadata",
            USE_DEMO,
        ) from error
    return tensors, sizes


def small_unet_patcher(path: str, disable_dynamic: bool = False) -> Any:
    """ModelPatcher of the UNet alone; the host calls this again for another device."""
    tensors, sizes = read_small(path)
    with _building(path, tensors, sizes):
        return _model(tensors, sizes, path, disable_dynamic)


@contextmanager
def _building(path: str, tensors: dict[str, Tensor], sizes: dict[str, Any]) -> Iterator[None]:
    """FormatError about the file for sizes that its weights do not have, whatever the host says of them."""
    name = Path(path).name
    try:
        check_weights(sizes, tensors, UNET_PREFIX)
    except SizesError as error:
        raise FormatError(f"{error} in {name}", "sizes of the weights in the file", USE_DEMO) from error
    with reading(name, f"networks of the sizes under {METADATA_KEY}", USE_DEMO):
        yield


def _model(tensors: dict[str, Tensor], sizes: dict[str, Any], path: str, disable_dynamic: bool) -> Any:
    management = comfy.model_management
    config = SmallSD15(sizes["unet"])
    load_device = management.get_torch_device()
    dtype = management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(tensors, UNET_PREFIX),
        supported_dtypes=config.supported_inference_dtypes,
        weight_dtype=comfy.utils.weight_dtype(tensors, UNET_PREFIX),
    )
    config.set_inference_dtype(
        dtype, management.unet_manual_cast(dtype, load_device, config.supported_inference_dtypes)
    )
    # Of the chosen type before they are loaded: with on-demand loading the host would keep the file's.
    tensors = {key: value.to(dtype) for key, value in tensors.items() if key.startswith(UNET_PREFIX)}
    model = config.get_model(tensors, UNET_PREFIX, device=management.unet_offload_device())
    patcher = patcher_class(disable_dynamic)(
        model, load_device=load_device, offload_device=management.unet_offload_device()
    )
    if is_dynamic(patcher):
        model.load_model_weights(tensors, UNET_PREFIX, assign=True)
    else:
        model.load_model_weights(tensors, UNET_PREFIX)
    patcher.cached_patcher_init = (small_unet_patcher, (path,))
    return patcher


def _clip(tensors: dict[str, Tensor], sizes: dict[str, Any]) -> Any:
    config = SmallSD15(sizes["unet"])
    weights = config.process_clip_state_dict(dict(tensors))
    return make_clip(
        config.clip_target(weights),
        weights,
        parameters=comfy.utils.calculate_parameters(weights),
        tokenizer_data=weights,
        model_options={"clip_l_model_config": sizes["text"]},
    )


def _vae(tensors: dict[str, Tensor], sizes: dict[str, Any]) -> Any:
    prefix = {"first_stage_model.": ""}
    weights = comfy.utils.state_dict_prefix_replace(dict(tensors), prefix, filter_keys=True)
    return comfy.sd.VAE(sd=weights, config={"params": sizes["vae"]})


def load_small(path: str, vae_path: str | None = None) -> tuple[Any, Any, Any]:
    """MODEL, CLIP, VAE of the checkpoint at `path`, the VAE from a file of its own if there is one."""
    tensors, sizes = read_small(path)
    if vae_path is not None:
        own, _ = read_small(vae_path)
        tensors = {**tensors, **{f"first_stage_model.{key}": value for key, value in own.items()}}
    with _building(path, tensors, sizes):
        return _model(tensors, sizes, path, False), _clip(tensors, sizes), _vae(tensors, sizes)
