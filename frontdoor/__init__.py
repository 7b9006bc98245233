"""What quickstart.py does. Standard library only, except api, demo and previews, which run in .venv."""
