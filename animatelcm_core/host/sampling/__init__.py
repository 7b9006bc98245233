"""One sampling run: run (a clip), latents, lcm (the sampler), model_sampling (the schedule), settings."""
