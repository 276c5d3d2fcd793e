"""Product analytics middleware for Django, Flask, Starlette and FastAPI."""

__version__ = "0.1.0"
