"""Bytes on disk: which container a file is, reading it safely, writing it whole."""
