"""What the ``demo`` command shows: a small blog with a checkout, and simulated visitors."""
