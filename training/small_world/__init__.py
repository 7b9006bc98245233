"""The small world: captioned clips of a sea creature, and a Stable-Diffusion-shaped model trained on them."""
