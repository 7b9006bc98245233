"""`python -m training.shapes.style` is now `python -m training.small_world style`."""

from training.shapes import run

if __name__ == "__main__":
    run("style")
