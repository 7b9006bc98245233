"""`python -m training.shapes.sample` is now `python -m training.small_world sample`."""

from training.shapes import run

if __name__ == "__main__":
    run("sample")
