"""Which events a collector does not get, and under which reason they count instead."""

import logging
from collections.abc import Callable

from analytics_middleware.collectors.base import Collector
from analytics_middleware.enrich.visit import BOT, CONSENTED, FORWARDED, OPTED_OUT
from analytics_middleware.outbox.base import Entry

logger = logging.getLogger("analytics_middleware.delivery")

Rule = Callable[[Entry], str | None]


def only_logs(collector: Collector, *, debug: bool) -> bool:
    """Whether what *collector* would get is logged instead: in *debug*, of a third party not told to send even so."""
    return debug and bool(getattr(collector, "third_party", True)) and not getattr(collector, "debug_sends", False)


def withholding(collector: Collector, *, debug: bool) -> Rule:
    """Return the rule for *collector*: entry to the reason for which it is withheld, or None.

    What it would get is logged where `only_logs` says so.
    """
    third_party = bool(getattr(collector, "third_party", True))
    wants_bots = bool(getattr(collector, "bots", False))
    requires_consent = bool(getattr(collector, "requires_consent", False))
    only_log = only_logs(collector, debug=debug)

    lenient = not (requires_consent or only_log)

    def reason(entry: Entry) -> str | None:
        flags = entry.flags
        if not flags and lenient:
            return None
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
