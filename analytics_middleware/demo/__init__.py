"""A small blog with a checkout, and believable visitors for it: what the ``demo`` command shows."""
