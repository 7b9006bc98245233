"""What quickstart.py does. Standard library only, except api.py and demo.py, which run in .venv."""
