"""Outgoing requests: secrets kept out of sight, addresses checked, answers limited in size and time."""
