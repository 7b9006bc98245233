"""Reads, builds, trains, resumes and exports runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed
from pydantic import ValidationError
from torch import Tensor

from animatelcm_core.atomic import write_text

from . import checkpoint, config_file, old_names
from .bounded_yaml import shown
from .checkpoint_fit import all_finite
from .config import ConfigError, RunConfig, as_yaml
from .data import open_dataset
from .engine import Trainer
from .locks import sole_writer
from .stages import STAGES
from .stages.stage import Export, Stage
from .weights import Files, Weights
from .words import check_words

MISTAKES = 20  # of a config that are told at once
CONFIGS = Path(__file__).parent / "configs"

# Reading.


def parse_run(path: Path, changes: list[str] | None = None, files: bool = True) -> RunConfig:
    """The run that `path` describes, with `a.b=c` changes (values are YAML).

    files: whether the files that it names must be there; False where none of them is read.
    Raises ConfigError, one line per mistake.
    """
    reported: set[str] = set()
    values = config_file.read_extended(
        path, lambda p: old_names.renamed(config_file.parse(p), str(p), reported)
    )
    for change in changes or []:
        old_names.apply_change(values, change, reported)
    old_names.settle(values, reported)
    return run_config(values, str(path), files)


def run_config(values: dict[str, Any], source: str, files: bool = True) -> RunConfig:
    """The run of these values. source: the file, for messages. Raises ConfigError, one line per mistake."""
    name = values.get("stage")
    if not isinstance(name, str) or name not in STAGES:
        raise ConfigError(f"got stage {shown(name)} in {source}; expected {' or '.join(STAGES)}")
    try:
        return STAGES[name].Config.model_validate(values, context={"files": files})
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        lines = [shown(f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}") for e in wrong[:MISTAKES]]
        lines += [f"and {len(wrong) - MISTAKES} more"] if len(wrong) > MISTAKES else []
        raise ConfigError(f"got {source}; expected a valid config:\n  " + "\n  ".join(lines)) from None


def read_config(stages: tuple[str, ...], path: Path, changes: list[str] | None = None) -> RunConfig:
    """The run that `path` describes. Raises ConfigError, also for a stage outside `stages`."""
    config = parse_run(path, changes)
    if config.stage not in stages:
        raise ConfigError(f"got {path} for stage {config.stage}; expected one for {' or '.join(stages)}")
    return config


# Training.


def build_stage(config: RunConfig, accelerator: Accelerator, weights: Weights | None = None) -> Stage[Any]:
    """The stage of `config` on the accelerator's device, from its files or from other `weights`.

    Raises ConfigError, FormatError.
    """
    if config.base.dtype == "bfloat16" and accelerator.mixed_precision != "bf16":
        raise ConfigError(
            f"got base.dtype bfloat16 with mixed precision {accelerator.mixed_precision}; expected bf16: "
            "what is trained stays float32. Start with `accelerate launch --mixed_precision bf16`."
        )
    weights = weights or Files(config)
    return STAGES[config.stage].build(config, weights.base().to(accelerator.device), weights)


def train(config: RunConfig) -> Trainer:
    """Train to the end, from the newest checkpoint in `out` if there is one, and export.

    Raises Interrupted when asked to stop, ConfigError where another process trains into `out`.
    """
    accelerator = Accelerator(gradient_accumulation_steps=1)  # the trainer accumulates itself
    with sole_writer(config.out, "training") if accelerator.is_main_process else nullcontext():
        return _train(config, accelerator)


def _train(config: RunConfig, accelerator: Accelerator) -> Trainer:
    set_seed(config.seed)
    if accelerator.is_main_process:
        print(as_yaml(config), flush=True)
    stage = build_stage(config, accelerator)
    dataset = open_dataset(config.data, stage.base.fingerprint)
    check_words(stage.base, dataset, config.samples.prompts if stage.reads_prompts else ())
    trainer = Trainer(config, stage, dataset, accelerator)
    if accelerator.is_main_process:  # not before: a config that does not fit the checkpoints is refused
        config.out.mkdir(parents=True, exist_ok=True)
        write_text(config.out / "config.yaml", as_yaml(config))
    trainer.run()
    if accelerator.is_main_process and stage.can_export(config):
        for path in export_run(config.out, config.out / "export"):
            print(f"wrote {path}")
    return trainer


# Exporting.


def export_run(run: Path, to: Path, online: bool = False, diffusers: bool = False) -> list[Path]:
    """Write what the newest checkpoint of `run` holds into the folder `to`.

    online: the weights as they are instead of their moving average; diffusers: a MotionAdapter as well.
    Raises ConfigError.
    """
    found = checkpoint.newest(run)
    if found is None:
        raise ConfigError(f"got {run}; expected the folder of a run with checkpoints in it")
    config = parse_run(run / "config.yaml", files=False)
    folder, state = found
    kind = "online" if online or not state.average else "average"
    weights: dict[str, Tensor] = getattr(state, kind)
    if not bool(all_finite(weights)):
        raise ConfigError(
            f"got {folder / kind}.safetensors with numbers that are not finite; expected finite weights. "
            "Nothing is exported: remove that folder, the one before it is taken then."
        )
    return export_weights(config, weights, state, to, diffusers)


def export_weights(
    config: RunConfig,
    weights: Mapping[str, Tensor],
    state: checkpoint.State,
    to: Path,
    diffusers: bool = False,
) -> list[Path]:
    """Write trained parameters, under their names in a checkpoint, into the folder `to`.

    weights: `online` or `average` of `state`. Raises ConfigError.
    """
    about = {
        "animatelcm.stage": config.stage,
        "animatelcm.base": config.base.checkpoint.name,
        "animatelcm.steps": str(state.step),
        "animatelcm.config": state.fingerprint,
        "modelspec.title": config.name,
    }
    target = Export(to / f"{config.name}.safetensors", about, diffusers)
    return STAGES[config.stage].export(config, weights, target)


def sampled_files(run: Path) -> dict[str, Any]:
    """The base that a run was distilled from, with what it exported. Raises ConfigError."""
    config = parse_run(run / "config.yaml", files=False)
    main = run / "export" / f"{config.name}.safetensors"
    own = STAGES[config.stage].sampled_files(config, main)
    if not main.is_file():
        raise ConfigError(
            f"got {run} without export/{main.name}; expected a run with exported weights. Do "
            f"`python -m training export --run {run} --to {run / 'export'}` first."
        )
    return {**config.base.model_dump(exclude={"dtype"}), **own}
