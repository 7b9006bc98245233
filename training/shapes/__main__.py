"""`python -m training.shapes STAGE` is now `python -m training.small_world STAGE`."""

from training.shapes import run

if __name__ == "__main__":
    run()
