"""Files -> the host's objects: MODEL, CLIP, VAE, CONTROL_NET, and this pack's motion models."""
