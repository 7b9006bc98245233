"""`python -m training.shapes.controlled` is now `python -m training.small_world control`."""

from training.shapes import run

if __name__ == "__main__":
    run("control")
