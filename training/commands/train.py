"""`image`, `video`, `adapt` and `adapter`: run one stage. The same command resumes a run that was cut.

python -m training image --config sd15_image_lora
accelerate launch --config_file training/configs/accelerate_8gpu.yaml -m training video --config sd15_video
"""

from __future__ import annotations

import argparse

from accelerate import Accelerator
from accelerate.utils import set_seed

from ..config import (
    AdaptConfig,
    AdapterConfig,
    ConfigError,
    ControlSection,
    ImageConfig,
    RunConfig,
    VideoConfig,
    read_config,
)
from ..data import open_dataset
from ..engine import Trainer
from ..stages.adapter import AdapterStage
from ..stages.control import ControlStage
from ..stages.encoder import EncoderStage
from ..stages.image import ImageStage
from ..stages.stage import Stage
from ..stages.video import VideoStage
from ..weights import Files, Weights
from .common import add_config_options, as_yaml, config_path, guarded
from .export import can_export, export_run


def build_stage(config: RunConfig, accelerator: Accelerator, weights: Weights | None = None) -> Stage:
    """The stage of `config` on the accelerator's device, from its files or from other `weights`.

    Raises ConfigError, FormatError.
    """
    if config.base.dtype == "bfloat16" and accelerator.mixed_precision != "bf16":
        raise ConfigError(
            f"got base.dtype bfloat16 with mixed precision {accelerator.mixed_precision}; expected bf16: "
            "what is trained stays float32. Start with `accelerate launch --mixed_precision bf16`."
        )
    weights = weights or Files(config)
    base = weights.base().to(accelerator.device)
    if isinstance(config, VideoConfig):
        own_lora = config.arm == "without_decouple"
        return VideoStage(config, base, weights.motion(), None if own_lora else weights.lora(base.unet))
    if isinstance(config, AdapterConfig):
        return AdapterStage(config, base, weights.adapter(base.unet))
    if isinstance(config, AdaptConfig):
        # The adapter first: a ControlNet begins as a copy of the UNet, which must have no LoRA yet.
        adapter = weights.adapter(base.unet) if isinstance(config.adapt, ControlSection) else None
        distilled = weights.motion(), weights.lora(base.unet)
        if adapter is not None:
            return ControlStage(config, base, *distilled, adapter)
        return EncoderStage(config, base, *distilled)
    assert isinstance(config, ImageConfig)
    return ImageStage(config, base)


def train(config: RunConfig) -> Trainer:
    """Run to the end and export. Raises Interrupted when asked to stop."""
    accelerator = Accelerator(gradient_accumulation_steps=1)  # the trainer accumulates itself
    set_seed(config.seed)
    if accelerator.is_main_process:
        print(as_yaml(config), flush=True)
    stage = build_stage(config, accelerator)
    trainer = Trainer(config, stage, open_dataset(config.data, stage.base.fingerprint), accelerator)
    if accelerator.is_main_process:  # not before: a config that does not fit the checkpoints is refused
        config.out.mkdir(parents=True, exist_ok=True)
        (config.out / "config.yaml").write_text(as_yaml(config), encoding="utf-8")
    trainer.run()
    if accelerator.is_main_process and can_export(config):
        for path in export_run(config.out, config.out / "export"):
            print(f"wrote {path}")
    return trainer


def main(arguments: list[str]) -> int:
    stage, *rest = arguments
    parser = argparse.ArgumentParser(
        prog=f"python -m training {stage}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and stop")
    options = parser.parse_args(rest)

    def run() -> int:
        config = read_config(stage, config_path(options.config), options.changes)
        if options.dry_run:
            print(as_yaml(config))
        else:
            train(config)
        return 0

    return guarded(run)
