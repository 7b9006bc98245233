"""What is distilled: a small Stable Diffusion with motion, made from nothing."""
