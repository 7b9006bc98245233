"""The stages of decoupled consistency learning: `image` makes the LoRA, `video` the motion weights."""
