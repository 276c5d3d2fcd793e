"""Writes events to files for other programs, as Parquet, CSV and JSON Lines. `importing` reads all three back."""

from typing import Final

FORMATS: Final = ("parquet", "csv", "jsonl")
"""The formats; each is also the extension of its files."""
PEOPLE: Final = "people.jsonl"
"""The file with what is known of users, next to the files of events in a directory."""
