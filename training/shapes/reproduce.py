"""`python -m training.shapes.reproduce` is now `python -m training.small_world reproduce`."""

from training.shapes import run

if __name__ == "__main__":
    run("reproduce")
