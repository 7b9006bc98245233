"""What quickstart.py does. Standard library only, but for api, clips, demo, previews, which run in .venv."""
