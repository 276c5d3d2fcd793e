"""Traits from the catalogue, as they were when a frame was made."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from analytics_middleware.outbox.database import Database
from analytics_middleware.properties import Scalar
from analytics_middleware.store import questions as q
from analytics_middleware.store._frame import Frame
from analytics_middleware.store.catalogue import read_version
from analytics_middleware.store.columns import USER


class Stale(Exception):  # noqa: N818 - not an error
    """The catalogue has changed since the frame was made: ask again with a new frame."""


class TraitReader:
    """Reads the traits of users from *database*."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, frame: Frame, question: msgspec.Struct) -> None:
        """Load into *frame* the traits that *question* filters or groups by. Raises `Stale`."""
        asked: Any = question.of if isinstance(question, q.Users) else question
        fields = {item.field for item in getattr(asked, "where", ())}
        fields |= {getattr(asked, "breakdown", None), getattr(asked, "field", None)}
        for field in sorted(field for field in fields if field is not None and field.startswith("traits.")):
            if field in frame.traits:
                continue
            key = field.removeprefix("traits.")
            values = dict(self._query(frame, "SELECT user_id, value FROM store_trait WHERE key = ?", key))
            for (user_id, name), value in frame.changed_traits.items():
                if name == key:
                    values[user_id] = value
            with frame.lock:
                numbers = frame.actors.numbers([USER] * len(values), list(values), add=False)
                frame.load_trait(field, list(values.values()), numbers)

    def of(self, frame: Frame, ids: Sequence[str]) -> Mapping[str, Mapping[str, Scalar]]:
        """Return the traits of the users called *ids*. Raises `Stale`."""
        wanted = set(ids)
        rows = self._query(
            frame,
            "SELECT user_id, key, value FROM store_trait WHERE user_id IN (SELECT value FROM json_each(?))",
            msgspec.json.encode(sorted(wanted)).decode(),
        )
        texts: dict[tuple[str, str], str | None] = {(user_id, key): value for user_id, key, value in rows}
        texts |= {item: value for item, value in frame.changed_traits.items() if item[0] in wanted}
        found: dict[str, dict[str, Scalar]] = {}
        for (user_id, key), text in sorted(texts.items()):
            value = None if text is None else msgspec.json.decode(text)
            if value is not None:
                found.setdefault(user_id, {})[key] = value
        return found

    def _query(self, frame: Frame, query: str, parameter: str) -> list[Any]:
        """Query the catalogue as it was when *frame* was made; raise `Stale` if it has changed."""
        with self._database.read() as connection:
            if read_version(connection) != frame.version:
                raise Stale
            return connection.execute(query, (parameter,)).fetchall()
