"""What other hosts send to the instance that holds the store for all: records from their logs, and requests for salts.

This needs the secret key; whatever a host that has the key sends is believed.
"""

import base64
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Final

import msgspec

from analytics_middleware.admission import admit
from analytics_middleware.analytics import Analytics
from analytics_middleware.counters import logger
from analytics_middleware.enrich.visit import BOT, FORWARDED
from analytics_middleware.event import Erase, Event, Identify
from analytics_middleware.outbox.base import STORE, Draft, Kind
from analytics_middleware.outbox.records import draft_of
from analytics_middleware.outbox.spill import FAILURES
from analytics_middleware.store.hub import SharedSalt, Taken
from analytics_middleware.timezones import zone
from analytics_middleware.tracking import identification
from analytics_middleware.web.body import decoded
from analytics_middleware.web.http import Refusal
from analytics_middleware.web.ingest import MAX_EVENTS

MAX_BODY: Final = 2_000_000
"""The most bytes of a body of records. The largest event that a host's log can hold must fit in: 64 properties of 4,096
characters of four bytes take 1,050,000. Django refuses to read bodies above 2.5 MB."""
_SOON: Final = ("retry-after", "5")
_LOOKS: Final = 32
"""Room is checked again after 1/32 of `max_bytes` was taken in, because other processes fill the same log."""


class SentRecord(msgspec.Struct, forbid_unknown_fields=True):
    """A record from another host's log."""

    kind: Kind
    record: msgspec.Raw


class SentRecords(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST records``."""

    records: Annotated[list[SentRecord], msgspec.Meta(max_length=MAX_EVENTS)]


class SaltWanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST salts``."""

    day: date


_records = msgspec.json.Decoder(SentRecords)
_wanted = msgspec.json.Decoder(SaltWanted)


class Hub:
    """Takes what other hosts have recorded into the log of *analytics*."""

    def __init__(self, analytics: Analytics) -> None:
        self._analytics = analytics
        self._looked_at = float("-inf")
        self._lag = 0
        self._full = False
        self._taken = 0

    def records(self, body: bytes) -> Taken:
        """Write the records in *body* into the log before this returns.

        Raises `Refusal`, which names the first wrong one; then none is kept.
        """
        self._check()
        sent: SentRecords = decoded(body, _records)
        drafts: list[Draft] = []
        erasures: list[tuple[str, Draft]] = []
        for index, each in enumerate(sent.records):
            try:
                if each.kind == "event":
                    drafts.append(_event(Event.decode(bytes(each.record))))
                elif each.kind == "identify":
                    drafts.append(_identity(Identify.decode(bytes(each.record))))
                else:
                    erasures.append(_erasure(Erase.decode(bytes(each.record))))
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                raise Refusal(400, "invalid", f"{error!s:.200}", f"records[{index}].record") from None
        try:
            if drafts:
                self._make_sure_of_room(drafts)
                self._analytics.take_over(drafts)
            for user_id, draft in erasures:
                self._analytics.outbox.erase(user_id, draft)
        except FAILURES:
            raise self._unwritable() from None
        return Taken(len(sent.records))

    def salts(self, body: bytes) -> SharedSalt:
        """Return the salt for ids of cookieless visitors on the day in *body*: today, yesterday or tomorrow."""
        self._check()
        day = decoded(body, _wanted).day
        today = datetime.now(UTC).astimezone(zone(self._analytics.settings.timezone)).date()
        if abs((day - today).days) > 1:
            raise Refusal(400, "invalid", f"{day} is not within a day of {today}, today's date here", "day")
        try:
            salt = self._analytics.shared_salt(day)
        except FAILURES:
            raise self._unwritable() from None
        return SharedSalt(day, base64.b64encode(salt).decode(), self._analytics.settings.timezone)

    def _check(self) -> None:
        if self._analytics.hub is not None:
            # Nor passed on: two hosts that name each other would pass records back and forth for ever.
            raise Refusal(
                503, "unavailable", "this instance keeps its events elsewhere; send yours there, too", headers=[_SOON]
            )
        if self._analytics.store is None:
            raise Refusal(503, "unavailable", "there is no store here", headers=[_SOON])
        if not self._analytics.active:
            raise Refusal(503, "unavailable", "analytics is off here", headers=[_SOON])

    def _make_sure_of_room(self, drafts: Sequence[Draft]) -> None:
        """Answer 503 if the log might overflow: the sender forgets what we accept."""
        settings = self._analytics.settings
        now, most = time.monotonic(), settings.max_pending // 2
        if now - self._looked_at > 1.0 or self._taken > settings.max_bytes // _LOOKS or self._lag > most:
            self._looked_at, self._taken = now, 0
            stats = self._analytics.outbox.stats()
            store = stats.consumers.get(STORE)
            self._lag = 0 if store is None else store.pending
            # Only if the store lags: entries that wait for a collector, and dead letters, are not the senders' problem.
            self._full = self._lag > 0 and stats.bytes_in_use > settings.max_bytes // 2
        if self._full or self._lag > most:
            raise Refusal(503, "busy", "the store lags behind the log", headers=[_SOON])
        self._lag += len(drafts)
        self._taken += sum(len(draft.payload) for draft in drafts)

    def _unwritable(self) -> Refusal:
        counters = self._analytics.counters
        counters.log("records", logger.error, "analytics: other hosts' records can't be written", exc_info=True)
        return Refusal(503, "unavailable", "the log can't be written; the server's log says why", headers=[_SOON])


def _event(event: Event) -> Draft:
    admit(event)
    return draft_of(event, flags=FORWARDED | BOT * event.visit.is_bot)


def _identity(sent: Identify) -> Draft:
    made = identification(sent.user_id, sent.traits, sent.anon_id)
    made.event_id, made.timestamp = sent.event_id, _utc(sent.timestamp)
    return draft_of(made, flags=FORWARDED)


def _erasure(sent: Erase) -> tuple[str, Draft]:
    made = identification(sent.user_id, None, sent.anon_id)
    sent.user_id, sent.anon_id = made.user_id, made.anon_id
    sent.timestamp = _utc(sent.timestamp)
    return sent.user_id, draft_of(sent)


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(f"timestamp {at} has no time zone")
    return at.astimezone(UTC)
