"""The config of a run: one YAML file, checked before anything is loaded. Unknown keys are refused.

    stage:                      what is trained: one of training/stages/, which adds its own section
    base:                       the frozen network, by local files
    data:                       where samples come from (training/data/config.py)
    solver, loss, lora, optim   the method; symbols as in animatelcm_core/solver.py

Here are the sections that all stages share; runs.py reads files.
`python -m training video --config FILE --set optim.lr=1e-5 --dry-run` prints the resolved run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from animatelcm_core.schedule import Schedule
from animatelcm_core.solver import Solver

from . import old_names
from .config_file import ConfigError as ConfigError
from .data.config import DataConfig, Place
from .variants import find_variant

MANY = 10**12  # steps: more than any run has, and far from where numbers end
Count = Annotated[int, Field(ge=1, le=MANY)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Scale = Annotated[float, Field(ge=0, le=1e4)]  # of guidance
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes


class Section(BaseModel):
    """Numbers are finite, unless a field says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _is_file(path: Path, about: ValidationInfo) -> Path:
    """Check that the file exists, if the run reads its files: see runs.parse_run."""
    needed = (about.context or {}).get("files", True)
    if needed and not path.is_file():
        raise ValueError(f"got {path}; expected an existing file")
    return path


LocalFile = Annotated[Path, AfterValidator(_is_file)]


class BaseConfig(Section):
    """The frozen network. Every path is local: nothing is downloaded.

    variant: the size, one of training/variants.py. checkpoint: single-file Stable Diffusion (.safetensors).
    vae: a VAE file to use in place of the checkpoint's.
    motion: the teacher's motion weights, in any layout the pack reads.
    lora: the image stage's LoRA in kohya names; stage video needs it unless its arm trains one.
    tokenizer: folder with vocab.json and merges.txt, as ComfyUI's comfy/sd1_tokenizer; sd15 needs it.
    dtype: of the frozen weights.
    """

    variant: Annotated[str, AfterValidator(lambda name: find_variant(name).name)] = "sd15"
    checkpoint: LocalFile
    vae: LocalFile | None = None
    motion: LocalFile | None = None
    lora: LocalFile | None = None
    tokenizer: Place | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"


class SolverConfig(Section):
    """The teacher's steps. guidance: range of the cfg scale 1 + w, drawn anew for every clip."""

    steps: int = Field(default=50, ge=1, le=1000)
    beta: Literal["linear", "scaled_linear"] = "linear"
    beta_end: float = Field(default=0.012, gt=0.00085, lt=1)
    guidance: tuple[Scale, Scale] = (5.0, 8.0)

    @model_validator(mode="after")
    def _consistent(self) -> SolverConfig:
        if not 1 <= self.guidance[0] <= self.guidance[1]:
            raise ValueError(f"got guidance {self.guidance}; expected 1 <= low <= high")
        self.build()
        return self

    def build(self) -> Solver:
        return Solver(Schedule(self.beta, self.beta_end, original_steps=1000), self.steps)


class LossConfig(Section):
    """d = pseudo-Huber with constant huber_c; lambda_n = (1 - delta n / N)^gamma."""

    huber_c: float = Field(default=0.001, gt=0)
    delta: float = Field(default=0.66, ge=0, le=1)
    gamma: float = Field(default=1.0, ge=0)


class LoraConfig(Section):
    """alpha over rank scales the LoRA: 8 over 64 is the released files' 1/8."""

    rank: int = Field(default=64, ge=1, le=8192)
    alpha: float = Field(default=8.0, gt=0, le=1e6)


class OptimConfig(Section):
    """AdamW. lr: peak learning rate after `warmup` steps; schedule: what follows.

    max_grad_norm: longer gradients are scaled down to it.
    """

    lr: float = Field(default=1e-5, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    weight_decay: float = Field(default=1e-3, ge=0)
    warmup: int = Field(default=500, ge=0, le=MANY)
    max_grad_norm: float = Field(default=1.0, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"


class BatchConfig(Section):
    """size: samples a process takes at once; accumulate: how many times before an optimizer step."""

    size: int = Field(default=1, ge=1, le=65536)
    accumulate: int = Field(default=1, ge=1, le=10**6)
    workers: int = Field(default=0, ge=0, le=256)


class SampleConfig(Section):
    """Grids that show progress: the same prompts and noise every time. Without prompts there are no grids."""

    prompts: tuple[str, ...] = Field(default=(), max_length=1000)
    steps: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(default=(1, 2, 4, 8), max_length=1000)
    every: Count = 500
    frames: int = Field(default=16, ge=1, le=1024)
    size: tuple[int, int] = (512, 512)
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)


class HintConfig(Section):
    """Where hints come from: `edges` of the pictures, or the `folder` that the data section names.

    mode, low, high, sigma: as in animatelcm_core/edges.py.
    """

    kind: Literal["edges", "folder"] = "edges"
    mode: Literal["canny", "soft"] = "canny"
    low: float = Field(default=0.4, ge=0)
    high: float = Field(default=0.8, gt=0)
    sigma: float = Field(default=1.0, gt=0, le=16)

    @model_validator(mode="after")
    def _in_order(self) -> HintConfig:
        if self.low >= self.high:
            raise ValueError(f"got low {self.low} and high {self.high}; expected low less than high")
        return self


class RunConfig(Section):
    """What all stages share; each adds its own section.

    Relative paths are taken from where the command is started.

    mu: rate of the target's moving average. ema_decay: rate of the moving average of the online weights that
    is exported instead of them; 0 exports them as they are.
    """

    stage: str
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    out: Place
    seed: Seed = 0
    steps: int = Field(ge=1, le=10**9)
    base: BaseConfig
    data: DataConfig
    solver: SolverConfig = SolverConfig()
    loss: LossConfig = LossConfig()
    lora: LoraConfig = LoraConfig()
    optim: OptimConfig = OptimConfig()
    batch: BatchConfig = BatchConfig()
    samples: SampleConfig = SampleConfig()
    mu: float = Field(default=0.95, ge=0, lt=1)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    gradient_checkpointing: bool = False
    save_every: Count = 500
    keep: Count = 3
    log_every: Count = 10

    @model_validator(mode="after")
    def _prompts_fit(self) -> RunConfig:
        if self.samples.prompts and any(s % 8 or not 8 <= s <= 8192 for s in self.samples.size):
            raise ValueError(f"got samples.size {self.samples.size}; expected multiples of 8 pixels, to 8192")
        return self

    @model_validator(mode="after")
    def _has_its_files(self) -> RunConfig:
        for name, expected in self.needs().items():
            if getattr(self.base, name) is None:
                raise ValueError(f"got no base.{name}; expected {expected}")
        return self

    def needs(self) -> dict[str, str]:
        """Files of `base` that the stage cannot do without -> what is expected there."""
        return {}


def as_yaml(config: RunConfig) -> str:
    """The resolved run, as a file that can be read again."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def fingerprint(config: RunConfig, processes: int) -> str:
    """16 hex digits of everything that changes what is learned; not of where it is written or logged.

    Of the batch it is the samples of an update, over all processes: how they are split changes nothing.
    """
    return _digest(_learned(config, processes))


def fingerprints(config: RunConfig, processes: int) -> set[str]:
    """Fingerprints of checkpoints that the run may resume: its own, and that of the config's old names."""
    learned = _learned(config, processes)
    return {_digest(learned), _digest(old_names.with_old_names(learned))}


def _learned(config: RunConfig, processes: int) -> dict[str, Any]:
    batch = config.batch
    learned = config.model_dump(
        mode="json", exclude={"out", "name", "save_every", "keep", "log_every", "samples", "steps", "batch"}
    )
    learned["samples_an_update"] = batch.size * batch.accumulate * processes
    return learned


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
