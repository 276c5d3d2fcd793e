"""Which events a collector does not get, and under which reason they count instead."""

import logging
from collections.abc import Callable

from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.enrich.visit import BOT, CONSENTED, FORWARDED, OPTED_OUT
from analytics_middleware.outbox.base import Entry

logger = logging.getLogger("analytics_middleware.delivery")

Rule = Callable[[Entry], str | None]


def only_logs(collector: Collector, *, debug: bool) -> bool:
    """Whether what *collector* would get is logged instead: in *debug*, of a third party not told to send even so."""
    return debug and bool(option(collector, "third_party")) and not option(collector, "debug_sends")


def withholding(collector: Collector, *, debug: bool) -> Rule:
    """Return the rule for *collector*: entry to the reason for which it is withheld, or None.

    What it would get is logged where `only_logs` says so.
    """
    third_party = option(collector, "third_party")
    wants_bots = option(collector, "bots")
    requires_consent = option(collector, "requires_consent")
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
