"""Where temporal modules and image features enter a UNet, and the hooks that put them there.

A temporal module follows the attention of each spatial layer, or the residual block where a level has no
attention, and comes before any down- or up-sampling; in the middle it follows the attention, before the
second residual block. A reference image's features are added to the second layer of each level on the way
down, before that layer's temporal module. Forward hooks put both there: no module list, key or weight of the
UNet changes, so LoRA, ControlNet and other patches keep meeting the model they know.

Both layouts are known by their attributes, not by class: ComfyUI's (`input_blocks`) and diffusers'
(`down_blocks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Temporal = Callable[[Tensor, int, float], Tensor]
"""A temporal module, or anything that is called as one: features ((b f), c, h, w), frames, strength."""

Change = Callable[[Tensor], Tensor]
"""What a hook makes of a layer's features ((b f), c, h, w)."""


class AttachError(ValueError):
    """The motion model does not fit the UNet."""


def motion_sites(unet: nn.Module) -> dict[str, str]:
    """Published name of each temporal module -> path of the submodule of `unet` that it follows.

    Raises AttachError for a network that is neither layout.
    """
    if hasattr(unet, "input_blocks") and hasattr(unet, "output_blocks"):
        return _comfy_sites(unet)
    if hasattr(unet, "down_blocks") and hasattr(unet, "up_blocks"):
        return _diffusers_sites(unet)
    raise AttachError(f"got a {type(unet).__name__}; expected an SD1.5 UNet (input_blocks or down_blocks)")


def _is_attention(module: nn.Module) -> bool:
    return hasattr(module, "transformer_blocks")


def _is_residual(module: nn.Module) -> bool:
    return hasattr(module, "in_layers") and hasattr(module, "out_layers")


def _site_in(sequential: nn.Module) -> str | None:
    """Index of the last attention of a ComfyUI block, else of its last residual block, else None."""
    children = list(sequential.named_children())
    for wanted in (_is_attention, _is_residual):
        for index, module in reversed(children):
            if wanted(module):
                return index
    return None


def _comfy_sites(unet: nn.Module) -> dict[str, str]:
    sites: dict[str, str] = {}
    level = layer = 0
    for i, block in enumerate(unet.get_submodule("input_blocks").children()):
        index = _site_in(block)
        if index is not None:
            sites[f"down_blocks.{level}.motion_modules.{layer}"] = f"input_blocks.{i}.{index}"
            layer += 1
        elif i > 0:  # a block without layers after the first convolution is the downsampler
            level, layer = level + 1, 0
    middle = _site_in(unet.get_submodule("middle_block"))
    sites["mid_block.motion_modules.0"] = f"middle_block.{middle}"
    per_level = len(list(unet.get_submodule("output_blocks").children())) // (level + 1)
    for i, block in enumerate(unet.get_submodule("output_blocks").children()):
        name = f"up_blocks.{i // per_level}.motion_modules.{i % per_level}"
        sites[name] = f"output_blocks.{i}.{_site_in(block)}"
    return sites


def _diffusers_sites(unet: nn.Module) -> dict[str, str]:
    sites: dict[str, str] = {}

    def add(side: str) -> None:
        for level, block in enumerate(unet.get_submodule(side).children()):
            kind = "attentions" if hasattr(block, "attentions") else "resnets"
            for layer in range(len(list(block.get_submodule(kind).children()))):
                sites[f"{side}.{level}.motion_modules.{layer}"] = f"{side}.{level}.{kind}.{layer}"

    add("down_blocks")
    sites["mid_block.motion_modules.0"] = "mid_block.attentions.0"
    add("up_blocks")
    return sites


def check_fit(unet: nn.Module, names: Mapping[str, int]) -> dict[str, str]:
    """Sites of every module in `names` (name -> channels); AttachError names the first that does not fit."""
    sites = motion_sites(unet)
    missing = [name for name in names if name not in sites]
    uncovered = [name for name in sites if name not in names and not name.startswith("mid_block")]
    if missing or uncovered:
        raise AttachError(
            f"got a motion model with {len(names)} temporal modules; expected {len(sites)} for this UNet "
            f"(first difference: {(missing + uncovered)[0]}). Use a motion model made for SD1.5."
        )
    return {name: sites[name] for name in names}


@contextmanager
def attached(
    unet: nn.Module, modules: Mapping[str, Temporal], frames: int, strength: float = 1.0
) -> Iterator[None]:
    """Run `unet` as a video UNet inside this context; outside it nothing is left behind.

    The UNet's batch is (b f) with `frames` consecutive frames per clip. Features of another batch size raise
    AttachError. The hooks return new tensors: control adds to them in place.
    """
    sites = motion_sites(unet)

    def change_for(module: Temporal) -> Change:
        def change(x: Tensor) -> Tensor:
            if x.shape[0] % frames:
                raise AttachError(f"got a batch of {x.shape[0]}; expected a multiple of {frames} frames")
            return module(x, frames, strength)

        return change

    with _hooked(unet, {sites[name]: change_for(module) for name, module in modules.items()}):
        yield


@contextmanager
def _hooked(unet: nn.Module, changes: Mapping[str, Change], first: bool = False) -> Iterator[None]:
    """Pass the output of the submodules at these paths through `changes`; `first`: before other hooks."""

    def hook_for(change: Change):
        def hook(_layer: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]):
            if isinstance(output, tuple):
                return (change(output[0]), *output[1:])
            return change(output)

        return hook

    with ExitStack() as stack:
        for path, change in changes.items():
            handle = unet.get_submodule(path).register_forward_hook(hook_for(change), prepend=first)
            stack.callback(handle.remove)
        yield


def feature_sites(unet: nn.Module) -> list[str]:
    """Paths of the submodules whose output an image feature is added to, one per level, outermost first.

    Raises AttachError for a network that is neither layout, or has a level of one layer.
    """
    sites = motion_sites(unet)
    levels = len({name.split(".")[1] for name in sites if name.startswith("down_blocks")})
    try:
        return [sites[f"down_blocks.{level}.motion_modules.1"] for level in range(levels)]
    except KeyError as error:
        raise AttachError(f"got a {type(unet).__name__} without {error}; expected an SD1.5 UNet") from error


@contextmanager
def with_image_features(unet: nn.Module, features: Sequence[Tensor]) -> Iterator[None]:
    """Run `unet` with a feature (f, c, h, w) added at each level; outside this context nothing is left.

    The UNet's batch is ((k f), c, h, w): k evaluations of the same frames, conditional or not, get the same
    features. Works with `attached`, in either order. Raises AttachError for another number of levels, and
    when the batch is not a multiple of the frames.
    """
    sites = feature_sites(unet)
    if len(sites) != len(features):
        raise AttachError(f"got an image encoder of {len(features)} levels; expected {len(sites)}")

    # Before every other hook there: the temporal module reads what the image has been added to.
    changes = {site: partial(_added, feature=f) for site, f in zip(sites, features, strict=True)}
    with _hooked(unet, changes, first=True):
        yield


def _added(x: Tensor, feature: Tensor) -> Tensor:
    """x ((k f), c, h, w) plus the feature of each frame, resized where another patch has scaled x."""
    frames = feature.shape[0]
    if x.shape[0] % frames or x.shape[1] != feature.shape[1]:
        raise AttachError(
            f"got features of shape {tuple(x.shape)}; expected {feature.shape[1]} channels and a multiple of "
            f"{frames} frames"
        )
    feature = feature.to(x)
    if feature.shape[2:] != x.shape[2:]:
        feature = F.interpolate(feature, size=x.shape[2:], mode="bilinear", align_corners=False)
    return rearrange(rearrange(x, "(k f) c h w -> k f c h w", f=frames) + feature, "k f c h w -> (k f) c h w")
