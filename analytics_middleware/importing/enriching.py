"""Enriches events of other programs as the pipeline does, with temporary salts for the visitors' hashes."""

from collections.abc import Callable, Iterable
from datetime import date
from typing import Final

from analytics_middleware.admission import admit
from analytics_middleware.counters import Counters
from analytics_middleware.enrich.sessions import PrivateSessions
from analytics_middleware.enrich.visit import EnrichedEvent, Enricher
from analytics_middleware.event import Event
from analytics_middleware.importing.records import FileError, Item, Items
from analytics_middleware.request import Request
from analytics_middleware.settings import Settings

_BATCH: Final = 1000


class TemporarySalts:
    """A random salt for each day, kept only during the import.

    The original salts of those days are destroyed, so imported visitors never match those recorded at the time.
    """

    def __init__(self) -> None:
        self._salts: dict[date, bytes] = {}

    def salt(self, day: date, fresh: Callable[[], bytes]) -> bytes:
        """Return the salt of *day*."""
        if day not in self._salts:
            self._salts[day] = fresh()
        return self._salts[day]

    shared = salt

    def forget(self, day: date) -> None:
        """Do nothing: files are not in order of time, so every salt may be needed again."""


class Enrichment:
    """Fills visits as *settings* say, as far as that is possible without a live request."""

    def __init__(self, settings: Settings) -> None:
        self._enricher = Enricher(
            Settings(
                exclude=settings.exclude,
                visitor=None if settings.visitor is None else "cookieless",
                # `see` removes addresses in any case.
                privacy="raw" if settings.privacy == "raw" else "strict",
                keep_query=settings.keep_query,
                session_timeout=settings.session_timeout,
                geoip_database=settings.geoip_database,
                timezone=settings.timezone,
            ),
            TemporarySalts(),
            PrivateSessions(),
            Counters(),
        )
        self.exclusions = self._enricher.exclusions

    def see(self, event: Event, request: Request | None) -> EnrichedEvent:
        """Return *event* enriched from *request*, without its address and still without a session."""
        admit(event)
        seen = self._enricher.enrich(event, request)
        seen.event.client_ip = None
        return seen

    def with_sessions(self, items: Iterable[Item | EnrichedEvent]) -> Items:
        """Yield *items*, each `EnrichedEvent` as its event with a session."""
        waiting: list[Item | EnrichedEvent] = []
        try:
            for item in items:
                waiting.append(item)
                if len(waiting) >= _BATCH:
                    yield from self._assigned(waiting)
                    waiting = []
        except FileError:
            # What is before the damaged part of a file counts.
            yield from self._assigned(waiting)
            raise
        yield from self._assigned(waiting)

    def _assigned(self, items: list[Item | EnrichedEvent]) -> Items:
        self._enricher.assign_sessions([item for item in items if isinstance(item, EnrichedEvent)])
        for item in items:
            yield item.event if isinstance(item, EnrichedEvent) else item
