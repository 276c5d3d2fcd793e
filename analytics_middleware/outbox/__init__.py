"""The outbox: one log of events, a cursor for each consumer."""
