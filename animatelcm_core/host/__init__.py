"""The bridge to ComfyUI: the only part of this repository that imports `comfy`.

A model is never changed: every function clones what it is given, and the motion modules hang on the UNet as
forward hooks only while one evaluation runs.
"""
