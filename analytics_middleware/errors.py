"""The exceptions this package raises on purpose."""

from collections.abc import Iterable, Mapping


class AnalyticsError(Exception):
    """Base of every exception raised on purpose by this package."""


class ConfigurationError(AnalyticsError, ValueError):
    """A setting or a collector's option is wrong; the message names the key, the value and what would be right."""


class MissingExtraError(AnalyticsError, ImportError):
    """A feature needs an optional dependency that is not installed; the message says what to install."""


class DeliveryError(AnalyticsError):
    """A collector's word on a batch that was not delivered, or not whole.

    *rejected* maps the ids of events refused for good to the reason; *retry* lists ids to send again, *uncertain*
    those that may have arrived. Ids in none were delivered. When all are left out the whole batch failed: for now by
    default, for good with ``permanent=True`` (delivery then bisects the batch to find the event that is at fault), for
    its size with ``too_large=True`` (delivery splits it).

    *retry_after* is the least number of seconds to wait: for the whole destination when the whole batch failed, else
    for the events of *retry* alone unless ``pause=True`` says that it is for the whole destination too. *ambiguous*
    says that the batch may have arrived (a time-out after sending); it is sent again only to destinations that
    deduplicate.
    """

    def __init__(
        self,
        message: str,
        *,
        rejected: Mapping[str, str] | None = None,
        retry: Iterable[str] | None = None,
        uncertain: Iterable[str] | None = None,
        retry_after: float | None = None,
        pause: bool = False,
        permanent: bool = False,
        too_large: bool = False,
        ambiguous: bool = False,
    ) -> None:
        super().__init__(message)
        self.rejected = dict(rejected or {})
        self.retry = frozenset(retry or ())
        self.uncertain = frozenset(uncertain or ())
        self.partial = rejected is not None or retry is not None or uncertain is not None
        self.retry_after = retry_after
        self.pause = pause
        self.permanent = permanent
        self.too_large = too_large
        self.ambiguous = ambiguous
