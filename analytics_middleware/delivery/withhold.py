"""Which events a collector does not get, and under which reason they count instead."""

import logging
from collections.abc import Callable

from analytics_middleware.collectors.base import Collector
from analytics_middleware.enrich.visit import BOT, CONSENTED, FORWARDED, OPTED_OUT
from analytics_middleware.outbox.base import Entry

logger = logging.getLogger("analytics_middleware.delivery")

Rule = Callable[[Entry], str | None]


def withholding(collector: Collector, *, debug: bool) -> Rule:
    """Return the rule for *collector*: entry to the reason for which it is withheld, or None.

    With *debug* a third party gets nothing, unless it was told to send all the same; what it would get is logged.
    """
    third_party = bool(getattr(collector, "third_party", True))
    wants_bots = bool(getattr(collector, "bots", False))
    requires_consent = bool(getattr(collector, "requires_consent", False))
    only_log = debug and third_party and not getattr(collector, "debug_sends", False)

    def reason(entry: Entry) -> str | None:
        flags = entry.flags
        if flags & FORWARDED:
            return "forwarded"
        if flags & BOT and not wants_bots:
            return "bot"
        # Traits are of somebody, too; an erasure is everybody's business.
        if entry.kind != "erase" and (
            (flags & OPTED_OUT and third_party) or (requires_consent and not flags & CONSENTED)
        ):
            return "consent"
        if only_log:
            logger.warning("analytics (debug): %s would get %s", collector.name, entry.payload.decode())
            return "debug"
        return None

    return reason
