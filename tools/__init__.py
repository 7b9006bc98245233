"""What makes the files in workflows/ and tests/api/, from runs of the real thing."""
