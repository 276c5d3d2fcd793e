"""The exceptions this package raises on purpose."""

from collections.abc import Iterable, Mapping


class AnalyticsError(Exception):
    """Base of every exception raised on purpose by this package."""


class ConfigurationError(AnalyticsError, ValueError):
    """A setting or a collector's option is wrong; the message names the key, the value and what would be right."""


class MissingExtraError(AnalyticsError, ImportError):
    """A feature needs an optional dependency that is not installed; the message says what to install."""


class DeliveryError(AnalyticsError):
    """Raised by a collector when a batch was not fully delivered.

    *rejected* maps the ids of permanently refused events to the reason; *retry* lists the ids to send again,
    *uncertain* those that may have arrived. Ids in none of them were delivered. If all three are left out, the whole
    batch failed: temporarily by default, permanently with ``permanent=True`` (delivery then bisects the batch to find
    the bad event), or because of its size with ``too_large=True`` (delivery splits it).

    *retry_after* is the minimum number of seconds to wait: for the whole destination if the whole batch failed or
    with ``pause=True``, otherwise only for the events in *retry*. *ambiguous* means that the batch may have arrived (a
    time-out after sending); it is sent again only to destinations that deduplicate.
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
