"""The AnimateLCM method in plain PyTorch; `animatelcm_core.host` is the only part that knows ComfyUI."""
