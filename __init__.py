"""AnimateLCM for ComfyUI. Nothing is imported before the host asks for the nodes."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The extension object of ComfyUI's V3 API."""
    try:
        from .nodes import AnimateLCMExtension
    except Exception:
        import logging

        # The host logs one line for a failed entry point; without the traceback nobody could help.
        logging.exception("AnimateLCM could not be loaded.")
        raise
    return AnimateLCMExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
