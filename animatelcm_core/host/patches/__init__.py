"""MODEL -> MODEL. Each patch clones the MODEL and hangs wrappers on the clone, under a key of its own.

motion, image, schedule, windows, control_hints are the patches; encoder finds the image encoder for one.
attachment hangs wrappers and takes them off; evaluation is one call of the UNet; run_wrappers and run_cache
serve a whole sampling run; compiled tells torch.compile what is hooked in.
"""
