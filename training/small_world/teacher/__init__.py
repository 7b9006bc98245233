"""The teacher that is distilled: a small Stable Diffusion with motion, trained from nothing."""
