"""The stages that make the small world's model, one a file, in this order:

judge, vae, latents, decoder, image, motion

Each reads what those before it left in the folder `out`, and resumes if it was cut.
"""
