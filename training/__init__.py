"""Offline training. Never imports ComfyUI; shares the method with the nodes through `animatelcm_core`."""
