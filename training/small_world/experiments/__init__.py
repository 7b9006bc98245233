"""The experiments: the paper's table and figure, image to video, control, styles. One command each."""
