"""Evaluation: clips sampled from exported weights, kept as videos, and what is measured of them."""
