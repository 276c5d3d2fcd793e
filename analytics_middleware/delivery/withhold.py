"""Which events a collector does not get, and the reason they are counted under."""

import logging
from collections.abc import Callable

from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.enrich.visit import BOT, CONSENTED, FORWARDED, OPTED_OUT
from analytics_middleware.outbox.base import Entry

logger = logging.getLogger("analytics_middleware.delivery")

Rule = Callable[[Entry], str | None]


def only_logs(collector: Collector, *, debug: bool) -> bool:
    """Whether to log what *collector* would get: in *debug*, for a third party without the option `debug_sends`."""
    return debug and bool(option(collector, "third_party")) and not option(collector, "debug_sends")


def withholding(collector: Collector, *, debug: bool) -> Rule:
    """Return the function that maps an entry to the reason for withholding it from *collector*, or None.

    The function logs entries withheld according to `only_logs`.
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
        # Identifies are personal data too. Erasures always go through.
        if entry.kind != "erase" and (
            (flags & OPTED_OUT and third_party) or (requires_consent and not flags & CONSENTED)
        ):
            return "consent"
        if only_log:
            logger.warning("analytics (debug): %s would get %s", collector.name, entry.payload.decode())
            return "debug"
        return None

    return reason
