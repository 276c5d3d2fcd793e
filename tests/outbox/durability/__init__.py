"""Real servers with a data directory, a destination that comes and goes, and load: what the durability tests share."""
