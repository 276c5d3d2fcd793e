"""The Starlette adapter."""
