"""`python -m training.shapes.table` is now `python -m training.small_world table1`."""

from training.shapes import run

if __name__ == "__main__":
    run("table1")
