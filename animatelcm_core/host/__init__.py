"""The bridge to ComfyUI: the only part of this repository that imports `comfy`.

load/       files -> the host's objects
sampling/   one run: its latents, noise levels, sampler, settings
patches/    MODEL -> MODEL: motion, image, schedule, windows, control hints
checks      what is wrong with a MODEL, a clip's length or a node's value
compat      every question about the host's version
interop     what other packs expect
advice      what an artist does with a file of another kind
messages    warnings in the log and on the node
folders     the host's folders of model files
reference   an IMAGE -> the latent of a reference image

A model is never changed: every patch clones the MODEL it is given, and the motion modules hang on the UNet as
forward hooks only while one evaluation runs.
"""
