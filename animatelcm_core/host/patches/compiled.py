"""Marks a compiled UNet with what is hooked into it, so that code compiled for other hooks is not reused.

Compiled code does not look at hooks, nor, by the host's own compile node, at transformer_options: it would be
used again for another frame count, another motion model or none. It does look at the names of its arguments,
so a compiled UNet gets a mark of what is attached as the name of one more (unused) argument.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY


def marked(options: dict[str, Any], key: str, *parts: object) -> dict[str, Any]:
    """`options` of one evaluation with a mark under `key`; the caller's dicts stay as they are."""
    transformer = dict(options.get("transformer_options", {}))
    transformer[key] = "/".join([key, *map(str, parts)])
    return {**options, "transformer_options": transformer}


def tell_compiler(key: str) -> Any:
    """APPLY_MODEL wrapper that hands the mark under `key` to a compiled UNet."""

    def wrapper(executor: Any, x: torch.Tensor, t: torch.Tensor, *args: Any, **kw: Any) -> Any:
        options = kw.get("transformer_options") or args[3]
        mark = options.get(key)
        if mark and _is_compiled(executor.class_obj, options):
            kw[mark] = True
        return executor(x, t, *args, **kw)

    return wrapper


def _is_compiled(base_model: Any, options: dict[str, Any]) -> bool:
    """Whether torch.compile is at work: an object patch, or the host's wrapper, before or after ours."""
    by_wrapper = COMPILE_KEY in options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    return by_wrapper or hasattr(base_model.diffusion_model, "_orig_mod")
