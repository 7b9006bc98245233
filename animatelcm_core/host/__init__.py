"""The bridge to ComfyUI: the only part of this repository that imports `comfy`.

load/       files -> the host's objects
sampling/   one run: its latents, noise levels, sampler, settings
patches/    MODEL -> MODEL: motion, image, schedule, windows, control hints
checks      what is wrong with a MODEL, a clip's length or a node's value
compat      every question about the host's version; interop: what is known of other packs
advice, messages, folders, reference: what nodes say, show, find and are given

A model is never changed: every patch clones the MODEL it is given, and the motion modules hang on the UNet as
forward hooks only while one evaluation runs.
"""
