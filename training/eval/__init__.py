"""Evaluation: samples clips from exported weights, writes them as videos, and measures them."""
