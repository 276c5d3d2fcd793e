"""Traits, ties and erasures as the records that would reproduce them in another store."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from analytics_middleware.event import Erase, Identify
from analytics_middleware.properties import Scalar
from analytics_middleware.store._history import Moment


def people(
    erased_users: Mapping[str, datetime],
    erased_anons: Mapping[str, Iterable[str]],
    ties: Iterable[tuple[str, str, Moment]],
    traits: Mapping[tuple[str, str], tuple[Moment, Scalar]],
) -> Iterator[Identify | Erase]:
    """Yield the records: erasures first, then ties and traits in the order in which they were set.

    *erased_anons* maps each anonymous id to the erased users it was seen with, *ties* are anonymous id, user and
    moment, *traits* are by user and key.
    """
    for user_id, until in erased_users.items():
        yield Erase(user_id=user_id, timestamp=until)
    # A store refuses these, as they are erased, but learns whose the anonymous ids were.
    for anon_id, users in erased_anons.items():
        for user_id in users:
            yield Identify(user_id=user_id, anon_id=anon_id, timestamp=erased_users[user_id])
    said: dict[tuple[Moment, str, str | None], dict[str, Scalar]] = {
        (moment, user_id, anon_id): {} for anon_id, user_id, moment in ties
    }
    tied = {(moment, user_id): anon_id for moment, user_id, anon_id in said}
    for (user_id, key), (moment, value) in traits.items():
        said.setdefault((moment, user_id, tied.get((moment, user_id))), {})[key] = value
    for ((at, event_id), owner, anon), values in sorted(said.items(), key=lambda item: item[0][:2]):
        yield Identify(event_id=event_id, user_id=owner, anon_id=anon, traits=values, timestamp=at)
