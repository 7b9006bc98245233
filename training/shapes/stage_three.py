"""`python -m training.shapes.stage_three` is now `python -m training.small_world stage-three`."""

from training.shapes import run

if __name__ == "__main__":
    run("stage-three")
