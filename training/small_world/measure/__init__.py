"""What is measured: models that sample clips, numbers, tables and pictures of them."""
