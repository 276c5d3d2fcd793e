"""Identity: which of an event's ids identify somebody. Enrichment follows the same rule."""

from analytics_middleware.enrich.visitor import COOKIELESS_PREFIX, is_cookieless, is_identity

__all__ = ["COOKIELESS_PREFIX", "identity", "is_cookieless"]


def identity(value: str | None) -> str | None:
    """Return *value* unchanged if it identifies somebody, else None."""
    return value if is_identity(value) else None
