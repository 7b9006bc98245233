"""The small world: captioned clips of one sea creature, and a Stable-Diffusion-shaped model trained on them."""
