"""Delivery: from the log to each collector, in batches, with retries."""
