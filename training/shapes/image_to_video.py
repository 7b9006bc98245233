"""`python -m training.shapes.image_to_video` is now `python -m training.small_world image-to-video`."""

from training.shapes import run

if __name__ == "__main__":
    run("image-to-video")
