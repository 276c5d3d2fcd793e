"""Loopback servers that answer as destinations do, and as broken networks do."""
