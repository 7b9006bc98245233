"""One file per command of `python -m training`. Each has `main(arguments)`, the command's name first."""
