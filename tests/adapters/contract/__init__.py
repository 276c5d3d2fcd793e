"""The contract that every adapter keeps: one set of pages, one table of requests, one driver per protocol."""
