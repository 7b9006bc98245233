"""`python -m training.shapes.figure` is now `python -m training.small_world figure5`."""

from training.shapes import run

if __name__ == "__main__":
    run("figure5")
