"""Identity: which of an event's ids name somebody. The rule is the same one that enrichment follows."""

from analytics_middleware.enrich.visitor import COOKIELESS_PREFIX, is_cookieless, is_identity

__all__ = ["COOKIELESS_PREFIX", "identity", "is_cookieless"]


def identity(value: str | None) -> str | None:
    """Return *value*, exactly as it is, when it names somebody, else None."""
    return value if is_identity(value) else None
