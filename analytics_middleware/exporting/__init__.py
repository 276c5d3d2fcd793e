"""Events as files for other programs: Parquet, CSV and JSON Lines, each of which `importing` reads back."""
