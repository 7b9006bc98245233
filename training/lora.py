"""A LoRA on a diffusers network: its layers, its strength in each role, its names in kohya's files.

peft does the arithmetic: y + alpha / rank * B(A(x)). A second adapter, `target`, exists only where the LoRA
is trained and its moving average is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn

from animatelcm_core.formats import read_tensors, require_lora

from .config import ConfigError
from .lora_file import kohya_name

ONLINE, TARGET = "online", "target"
LCM_TARGETS = [
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
    "time_emb_proj",
]
"""Suffixes of the 278 layers of an SD1.5 UNet that the released LCM LoRAs change."""


class Lora:
    """All LoRA layers of one network. `scale` and `adapter` are what a forward pass uses right now."""

    def __init__(
        self,
        unet: nn.Module,
        rank: int,
        alpha: float,
        adapters: tuple[str, ...] = (ONLINE,),
        targets: Sequence[str] = LCM_TARGETS,
    ):
        """Inject new adapters, A random, B zero: they change nothing yet. The base stays frozen.

        targets: names of layers, or their last parts.
        """
        for name in adapters:
            settings = PeftConfig(r=rank, lora_alpha=alpha, target_modules=list(targets))  # type: ignore[arg-type]
            inject_adapter_in_model(settings, unet, name)
        self.rank, self.alpha = rank, alpha
        self.layers = {name: m for name, m in unet.named_modules() if isinstance(m, LoraLayer)}
        if not self.layers:
            raise ConfigError("got a UNet without the layers of an LCM LoRA; expected Stable Diffusion 1.5's")
        self._base_scale = {name: dict(layer.scaling) for name, layer in self.layers.items()}
        for parameter in unet.parameters():
            parameter.requires_grad_(False)
        with torch.no_grad():  # the target starts where the online adapter is
            if TARGET in adapters:
                self.ema_update(0.0)

    def parameters(self, adapter: str = ONLINE) -> dict[str, nn.Parameter]:
        """`<module>.lora_A` / `<module>.lora_B` -> weight."""
        return {
            f"{name}.{part}": getattr(layer, part)[adapter].weight
            for name, layer in self.layers.items()
            for part in ("lora_A", "lora_B")
        }

    def trainable(self) -> dict[str, nn.Parameter]:
        """The online adapter's parameters, now requiring gradients, in float32."""
        parameters = self.parameters()
        for parameter in parameters.values():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
        return parameters

    @torch.no_grad()
    def ema_update(self, mu: float) -> None:
        """Moving average of the factors: target <- mu target + (1 - mu) online, as ema.py does."""
        online, target = self.parameters(ONLINE), self.parameters(TARGET)
        for name, parameter in target.items():
            parameter.lerp_(online[name].to(parameter.dtype), 1 - mu)

    @contextmanager
    def at(self, scale: float, adapter: str = ONLINE) -> Iterator[None]:
        """Run the base plus `scale` times the LoRA of `adapter` inside; scale 0 leaves the LoRA out entirely.

        peft switches requires_grad when it switches adapters; the flags are put back as they were.
        """
        flags = [(p, p.requires_grad) for layer in self.layers.values() for p in layer.parameters()]  # type: ignore[attr-defined]

        def restore() -> None:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)

        for name, layer in self.layers.items():
            if scale == 0:
                layer.enable_adapters(False)
            else:
                layer.set_adapter(adapter)
                layer.scaling = {key: value * scale for key, value in self._base_scale[name].items()}
        restore()
        try:
            yield
        finally:
            for name, layer in self.layers.items():
                layer.enable_adapters(True)
                layer.set_adapter(ONLINE)
                layer.scaling = dict(self._base_scale[name])
            restore()

    @torch.no_grad()
    def load_kohya(self, tensors: Mapping[str, Tensor], file_name: str) -> None:
        """Fill the online adapter. Raises ConfigError for a missing, extra or misshapen layer."""
        stems = {kohya_name(name): name for name in self.layers}
        extra = [key for key in tensors if key.partition(".")[0] not in stems]
        if extra:
            raise ConfigError(
                f"got {file_name} with {extra[0]}; expected only layers of an LCM LoRA on this UNet"
            )
        parameters = self.parameters()
        for stem, name in stems.items():
            down, up = tensors.get(f"{stem}.lora_down.weight"), tensors.get(f"{stem}.lora_up.weight")
            if down is None or up is None:
                raise ConfigError(
                    f"got {file_name} without {stem}; expected all {len(stems)} layers of an LCM LoRA"
                )
            a, b = parameters[f"{name}.lora_A"], parameters[f"{name}.lora_B"]
            if down.numel() != a.numel() or up.numel() != b.numel():
                raise ConfigError(
                    f"got {file_name}: {stem} of shape {tuple(down.shape)}; expected {tuple(a.shape)} (rank "
                    f"{self.rank})"
                )
            a.copy_(down.reshape(a.shape))
            b.copy_(up.reshape(b.shape))


def lora_sizes(tensors: Mapping[str, Tensor], file_name: str) -> tuple[int, float]:
    """(rank, alpha) of a kohya file. Raises ConfigError where layers differ: the trainer knows one rank."""
    downs = {key: value for key, value in tensors.items() if key.endswith(".lora_down.weight")}
    sizes = set()
    for key, down in downs.items():
        alpha = tensors.get(key.replace(".lora_down.weight", ".alpha"))
        sizes.add((down.shape[0], float(alpha) if alpha is not None else float(down.shape[0])))
    if len(sizes) != 1:
        raise ConfigError(
            f"got {file_name} with (rank, alpha) {sorted(sizes)[:4]}; expected one rank for all layers, in "
            "kohya's names"
        )
    return sizes.pop()


def load_lora(unet: nn.Module, path: Path) -> Lora:
    """A frozen LoRA from a kohya file, injected into `unet`. Raises FormatError or ConfigError."""
    tensors, _ = read_tensors(path)
    require_lora(tensors, path.name)
    lora = Lora(unet, *lora_sizes(tensors, path.name))
    lora.load_kohya(tensors, path.name)
    return lora
