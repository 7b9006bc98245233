"""`export`: a run's newest checkpoint as files for ComfyUI, or any motion file as .safetensors.

python -m training export --run runs/sd15_video --to models
python -m training export --convert v3_sd15_mm.ckpt --to v3_sd15_mm.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from animatelcm_core.formats import convert_motion, load_motion, read_tensors

from .. import checkpoint
from ..adapters import published, published_tensors, with_lora
from ..config import (
    STAGES,
    AdaptConfig,
    AdapterConfig,
    ConfigError,
    ControlSection,
    EncoderSection,
    RunConfig,
)
from ..config_file import parse
from ..export import (
    adapter_lora_tensors,
    kohya_tensors,
    save_adapter,
    save_lora,
    save_motion_adapter,
    save_motion_weights,
)
from ..stages.encoder import EncoderStage
from ..variants import find_variant
from .common import guarded


def export_run(run: Path, to: Path, online: bool = False, diffusers: bool = False) -> list[Path]:
    """Write what the newest checkpoint of `run` holds into the folder `to`.

    online: the weights as they are instead of their moving average; diffusers: a MotionAdapter as well.
    """
    folders = checkpoint.list_checkpoints(run)
    if not folders:
        raise ConfigError(f"got {run}; expected the folder of a run with checkpoints in it")
    values = parse(run / "config.yaml")
    config = STAGES[str(values.get("stage"))].model_validate(values, context={"files": False})
    state = checkpoint.load(folders[-1])
    weights = state.online if online or not state.average else state.average
    return export_weights(config, weights, state, to, diffusers)


def export_weights(
    config: RunConfig,
    weights: Mapping[str, Tensor],
    state: checkpoint.State,
    to: Path,
    diffusers: bool = False,
) -> list[Path]:
    """Write trained parameters, under their names in a checkpoint, into the folder `to`.

    weights: `online` or `average` of `state`.
    """
    about = metadata(config, state)
    path = to / f"{config.name}.safetensors"
    if isinstance(config, AdapterConfig):
        kind = config.adapter.kind
        return [save_adapter(path, published_tensors(kind, weights), about)]
    if isinstance(config, AdaptConfig) and isinstance(config.adapt, ControlSection):
        return _export_control(config, config.adapt, weights, path, about)
    if isinstance(config, AdaptConfig):
        return [_export_encoder(config, weights, path, about)]
    lora = {k.removeprefix("lora."): v for k, v in weights.items() if ".lora_" in k}
    motion = {k: v for k, v in weights.items() if ".lora_" not in k}
    written = []
    if lora:
        name = f"{config.name}_lora" if motion else config.name
        kohya = kohya_tensors(lora, config.lora.alpha)
        written.append(save_lora(to / f"{name}.safetensors", kohya, about))
    if motion:
        sizes = find_variant(config.base.variant).motion
        written.append(save_motion_weights(to / f"{config.name}.safetensors", motion, sizes, about))
        if diffusers:
            written.append(save_motion_adapter(to / f"{config.name}_diffusers.safetensors", motion, about))
    return written


def can_export(config: RunConfig) -> bool:
    """Whether the released layouts have a place for what the run trains."""
    section = config.adapt if isinstance(config, AdaptConfig) else None
    return not isinstance(section, EncoderSection) or section.reading == "latents"


def _export_encoder(
    config: AdaptConfig, weights: Mapping[str, Tensor], path: Path, about: Mapping[str, str]
) -> Path:
    """The image encoder with its motion weights: those trained along, or else the base's."""
    assert isinstance(config.adapt, EncoderSection)
    if not can_export(config):
        raise ConfigError(
            f"got a run with adapt.reading {config.adapt.reading}; expected latents: the released layout has "
            "no place for another. Such a run is for comparison."
        )
    sizes = find_variant(config.base.variant).motion
    if not config.adapt.motion:
        assert config.base.motion is not None
        weights = {**load_motion(*read_tensors(config.base.motion)).motion, **weights}
    return save_motion_weights(path, weights, sizes, about, EncoderStage.schedule)


def _export_control(
    config: AdaptConfig,
    section: ControlSection,
    weights: Mapping[str, Tensor],
    path: Path,
    about: Mapping[str, str],
) -> list[Path]:
    """The LoRA, for AnimateLCM Control LoRA, and the adapter with it merged, for every loader."""
    kind, alpha = section.network, config.lora.alpha
    about = {**about, "animatelcm.adapter": section.adapter.name}
    lora = path.with_name(f"{config.name}_lora.safetensors")
    tensors = adapter_lora_tensors(kind, weights, alpha)
    save_lora(lora, tensors, about)
    adapter = published(kind, read_tensors(section.adapter)[0])
    return [lora, save_adapter(path, with_lora(kind, adapter, tensors), about)]


def metadata(config: RunConfig, state: checkpoint.State) -> dict[str, str]:
    """Where a file comes from."""
    return {
        "animatelcm.stage": str(getattr(config, "stage", "")),
        "animatelcm.base": config.base.checkpoint.name,
        "animatelcm.steps": str(state.step),
        "animatelcm.config": state.fingerprint,
        "modelspec.title": config.name,
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training export", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="folder of a run")
    source.add_argument("--convert", type=Path, help="a motion file of any layout")
    parser.add_argument("--to", type=Path, required=True, help="folder, or with --convert the new file")
    parser.add_argument("--online", action="store_true", help="the last weights, not their moving average")
    parser.add_argument("--diffusers", action="store_true", help="write a MotionAdapter as well")
    options = parser.parse_args(arguments[1:])

    def run() -> int:
        if options.convert is not None:
            file = convert_motion(options.convert, options.to)
            print(f"wrote {options.to}: {file.description}")
            return 0
        for path in export_run(options.run, options.to, options.online, options.diffusers):
            print(f"wrote {path}")
        return 0

    return guarded(run)
