"""The record that has a user forgotten, and who else may hold something of the user."""

from collections.abc import Iterable

from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.event import Erase
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.records import draft_of
from analytics_middleware.tracking import identification


def erase_record(user_id: object) -> tuple[str, Draft]:
    """Return *user_id* as events carry it, and the record for the log that everything of it up to now be forgotten.

    Raises `ValueError` when it is empty.
    """
    record = Erase(user_id=identification(user_id, None, None).user_id)
    return record.user_id, draft_of(record)


def holders(collectors: Iterable[Collector]) -> tuple[list[Collector], list[Collector]]:
    """Return those of *collectors* that send to third parties, who must be asked on their own, and the others."""
    vendors: list[Collector] = []
    own: list[Collector] = []
    for each in collectors:
        (vendors if option(each, "third_party") else own).append(each)
    return vendors, own
