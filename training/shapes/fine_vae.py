"""`python -m training.shapes.fine_vae` is now `python -m training.small_world fine-vae`."""

from training.shapes import run

if __name__ == "__main__":
    run("fine-vae")
