"""The Django adapter."""
