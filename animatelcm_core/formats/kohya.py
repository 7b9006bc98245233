"""The parts of a LoRA in kohya's names: `<module>.lora_down.weight`, `.lora_up.weight` and `.alpha`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor

FACTORS = ("lora_down.weight", "lora_up.weight")
PARTS = (*FACTORS, "alpha")


def by_module(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Name of each module in the file, without dots -> its parts by name, whatever they are."""
    modules: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        module, _, part = key.partition(".")
        modules[module][part] = value
    return dict(modules)
