"""Events as files for other programs: Parquet, CSV and JSON Lines, each of which `importing` reads back."""

from typing import Final

FORMATS: Final = ("parquet", "csv", "jsonl")
"""The formats, each of which is also how its files' names end."""
PEOPLE: Final = "people.jsonl"
"""The file with what is known of people, beside those of events in a directory."""
