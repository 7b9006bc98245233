"""What a run is: one YAML file, checked before anything is loaded. Unknown keys are refused.

    stage: image | video        which part of decoupled consistency learning (paper 4.1)
           adapt                a new part without a teacher (paper 4.3)
           adapter              a ControlNet or T2I-Adapter from nothing, for the image model
    base:                       the network that is distilled, by local files
    data:                       where samples come from (training/data/config.py)
    solver, loss, lora, optim   the method; symbols as in animatelcm_core/solver.py

`python -m training video --config FILE --set optim.rate=1e-5 --dry-run` prints the resolved run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from animatelcm_core.formats import AdapterKind
from animatelcm_core.schedule import Schedule
from animatelcm_core.solver import Solver

from .config_file import ConfigError, apply_change, extended
from .data.config import DataConfig
from .variants import find_variant


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _is_file(path: Path, about: ValidationInfo) -> Path:
    """Where files are needed at all: see `parse_run`."""
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
    tokenizer: Path | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"


class SolverConfig(Section):
    """The teacher's steps. guidance: range of the cfg scale 1 + w, drawn anew for every clip."""

    steps: int = Field(default=50, ge=1, le=1000)
    beta: Literal["linear", "scaled_linear"] = "linear"
    beta_end: float = Field(default=0.012, gt=0.00085, lt=1)
    guidance: tuple[float, float] = (5.0, 8.0)

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

    rank: int = Field(default=64, ge=1)
    alpha: float = Field(default=8.0, gt=0)


class OptimConfig(Section):
    """AdamW. rate: peak learning rate after `warmup` steps; schedule: what follows."""

    rate: float = Field(default=1e-5, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=1e-3, ge=0)
    warmup: int = Field(default=500, ge=0)
    clip: float = Field(default=1.0, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"


class BatchConfig(Section):
    """size: samples a process takes at once; accumulate: how many times before an optimizer step."""

    size: int = Field(default=1, ge=1)
    accumulate: int = Field(default=1, ge=1)
    workers: int = Field(default=0, ge=0)


class SampleConfig(Section):
    """Grids that show how training goes: the same prompts and noise every time. No prompts, no grids."""

    prompts: tuple[str, ...] = ()
    steps: tuple[int, ...] = (1, 2, 4, 8)
    every: int = Field(default=500, ge=1)
    frames: int = Field(default=16, ge=1)
    size: tuple[int, int] = (512, 512)
    seed: int = 0


class RunConfig(Section):
    """What both stages share.

    Relative paths are taken from where the command is started.

    mu: rate of the target's moving average. average: rate of the moving average of the online weights that is
    exported instead of them; 0 exports them as they are.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    out: Path
    seed: int = Field(default=0, ge=0)
    steps: int = Field(ge=1)
    base: BaseConfig
    data: DataConfig
    solver: SolverConfig = SolverConfig()
    loss: LossConfig = LossConfig()
    lora: LoraConfig = LoraConfig()
    optim: OptimConfig = OptimConfig()
    batch: BatchConfig = BatchConfig()
    samples: SampleConfig = SampleConfig()
    mu: float = Field(default=0.95, ge=0, lt=1)
    average: float = Field(default=0.0, ge=0, lt=1)
    gradient_checkpointing: bool = False
    save_every: int = Field(default=500, ge=1)
    keep: int = Field(default=3, ge=1)
    log_every: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _prompts_fit(self) -> RunConfig:
        if self.samples.prompts and any(value % 8 for value in self.samples.size):
            raise ValueError(f"got samples.size {self.samples.size}; expected multiples of 8 pixels")
        return self


class ImageConfig(RunConfig):
    """Stage one: the LCM LoRA. mu 0 takes the online network itself as target, as the LCM LoRA had it."""

    stage: Literal["image"] = "image"
    mu: float = Field(default=0.0, ge=0, lt=1)


class HintConfig(Section):
    """Where hints come from: `edges` of the pictures themselves, or the `folder` that the data names.

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


class ControlSection(Section):
    """A LoRA on an adapter; its rank is `lora.rank`. adapter: the adapter's file, as its authors gave it."""

    kind: Literal["controlnet_lora", "t2i_adapter_lora"]
    adapter: LocalFile
    hint: HintConfig = HintConfig()

    @property
    def network(self) -> AdapterKind:
        return "controlnet" if self.kind == "controlnet_lora" else "t2i_adapter"


class EncoderSection(Section):
    """An image encoder from nothing.

    reading: how the reference image is given (training/readers.py); only `latents` can be exported.
    motion: whether the motion weights learn along, at `motion_rate` times the rate.
    motion_scale: as the clips will be sampled; the authors use 0.8.
    stills: share of the clips that are shown as their first frame held, at motion scale 0: without any, the
    motion weights need not heed the scale.
    """

    kind: Literal["image_encoder"] = "image_encoder"
    reading: Literal["latents", "pixels", "first_frame"] = "latents"
    motion: bool = False
    motion_rate: float = Field(default=1.0, gt=0)
    motion_scale: float = Field(default=0.8, ge=0, le=2)
    stills: float = Field(default=0.0, ge=0, lt=1)


AdaptSection = Annotated[EncoderSection | ControlSection, Field(discriminator="kind")]


class AdaptConfig(RunConfig):
    """Stage three: a new part for a distilled network, without a teacher."""

    stage: Literal["adapt"] = "adapt"
    adapt: AdaptSection = EncoderSection()

    @model_validator(mode="after")
    def _has_its_files(self) -> AdaptConfig:
        if self.base.motion is None or self.base.lora is None:
            raise ValueError(
                "got no base.motion or no base.lora; expected distilled motion weights and the LCM LoRA "
                "(AnimateLCM's, or yours from the stages video and image)"
            )
        return self


class AdapterSection(Section):
    """An adapter from nothing, or from `start`: a file of the same kind, to train further.

    hint_channels: of a new T2I-Adapter, 1 for edges and sketches. drop: share of captions that are left out,
    so that hints are read for themselves. snr: limits of the weight of an error in x_0; with 0 and infinity
    all levels of the noise's error count the same.
    """

    kind: Literal["controlnet", "t2i_adapter"]
    start: LocalFile | None = None
    hint: HintConfig = HintConfig()
    hint_channels: Literal[1, 3] = 1
    drop: float = Field(default=0.3, ge=0, le=1)
    snr: tuple[float, float] = (0.0, float("inf"))


class AdapterConfig(RunConfig):
    """A ControlNet or T2I-Adapter for the image model, by plain denoising of pictures."""

    stage: Literal["adapter"] = "adapter"
    adapter: AdapterSection


class VideoConfig(RunConfig):
    """Stage two: the motion weights.

    arm, the paper's ablation (5.2): `paper` inserts the LoRA in the online model only, the target grows it by
    its moving average; `without_init` has it in both from the start; `without_decouple` starts a new LoRA and
    trains it with the motion weights.
    temporal_init: `teacher` starts from the teacher's motion weights, `zero` from none.
    """

    stage: Literal["video"] = "video"
    arm: Literal["paper", "without_init", "without_decouple"] = "paper"
    temporal_init: Literal["teacher", "zero"] = "teacher"

    @model_validator(mode="after")
    def _has_its_files(self) -> VideoConfig:
        if self.base.motion is None:
            raise ValueError(
                "got no base.motion; expected the teacher's motion weights (AnimateDiff v2 or v3)"
            )
        if self.base.lora is None and self.arm != "without_decouple":
            raise ValueError(f"got no base.lora; expected the image stage's LoRA for arm {self.arm}")
        return self


STAGES: dict[str, type[RunConfig]] = {
    "image": ImageConfig,
    "video": VideoConfig,
    "adapt": AdaptConfig,
    "adapter": AdapterConfig,
}


def read_config(stage: str, path: Path, changes: list[str] | None = None) -> RunConfig:
    """The run of `stage` that `path` describes. Raises ConfigError, also for a config of another stage."""
    config = parse_run(path, changes)
    if config.stage != stage:  # type: ignore[attr-defined]
        raise ConfigError(f"got {path} for stage {config.stage}; expected one for {stage}")  # type: ignore[attr-defined]
    return config


def parse_run(path: Path, changes: list[str] | None = None, files: bool = True) -> RunConfig:
    """The run that `path` describes, with `a.b=c` changes (values are YAML).

    files: whether the base's files must be there; False where none of them is read.
    Raises ConfigError, a line a mistake.
    """
    values = extended(path)
    for change in changes or []:
        apply_change(values, change)
    stage = values.get("stage")
    if stage not in STAGES:
        raise ConfigError(f"got stage {stage} in {path}; expected {' or '.join(STAGES)}")
    try:
        return STAGES[stage].model_validate(values, context={"files": files})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"got {path}; expected a valid config:\n  " + "\n  ".join(lines)) from None


def fingerprint(config: RunConfig, processes: int) -> str:
    """16 hex digits of everything that changes what is learned; not of where it is written or logged.

    Of the batch it is the samples of an update, over all processes: how they are split changes nothing.
    """
    batch = config.batch
    kept = config.model_dump(
        mode="json", exclude={"out", "name", "save_every", "keep", "log_every", "samples", "steps", "batch"}
    )
    kept["samples_an_update"] = batch.size * batch.accumulate * processes
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
