"""Numbers for ids: each user, cookie and cookieless id gets a small number that can index arrays."""

from collections.abc import Sequence
from typing import Any

from analytics_middleware.store._arrays import NEVER, Hashes, Int32s, Int64s, NDArray, np, pa
from analytics_middleware.store.columns import ANON, USER, actor_hash
from analytics_middleware.store.segments import Segments


class Actors:
    """All ids: those of compacted segments, numbered permanently, and those numbered by this process only."""

    def __init__(self, segments: Segments, file: str | None) -> None:
        table = None if file is None else segments.read(file, _COLUMNS)
        self.sealed = 0 if table is None else int(table.num_rows)
        """How many are numbered permanently."""
        self._ids: Any = pa.chunked_array([], pa.string()) if table is None else table.column("id")
        self.owners: Int32s = _array(table, "owner", np.int32)
        """For each permanent number, the number of its owner when the compacted segments were written."""
        self.first: Int64s = _array(table, "first", np.int64)
        """The time of each one's first event, bot events included, `NEVER` without one."""
        self.first_human: Int64s = _array(table, "first_human", np.int64)
        self._kinds: NDArray[np.uint8] = _array(table, "kind", np.uint8)
        self.hashes: Hashes = _array(table, "hash", np.uint64)
        self._order = np.argsort(self.hashes, kind="stable").astype(np.int32)
        self._sorted = self.hashes[self._order]
        self._added: dict[int, int] = {}
        self._added_kinds: list[int] = []
        self._added_ids: list[str] = []

    def __len__(self) -> int:
        return self.sealed + len(self._added)

    def numbers(self, kinds: Sequence[int], ids: Sequence[str], *, add: bool = True) -> Int32s:
        """Return the numbers of *ids* with their *kinds*. New ids get a number, or -1 if *add* is false."""
        if not ids:
            return np.zeros(0, np.int32)
        hashes = np.array([actor_hash(kind, text) for kind, text in zip(kinds, ids, strict=True)], np.uint64)
        found = self._find(hashes)
        for index in np.flatnonzero(found < 0).tolist():
            key = int(hashes[index])
            number = self._added.setdefault(key, len(self)) if add else self._added.get(key, -1)
            if add and number == self.sealed + len(self._added_ids):
                self._added_kinds.append(kinds[index])
                self._added_ids.append(ids[index])
            found[index] = number
        return found

    def find(self, kind: int, text: str) -> int | None:
        """Return the number of an id, None if it is unknown."""
        key = actor_hash(kind, text)
        number = int(self._find(np.array([key], np.uint64))[0])
        return self._added.get(key) if number < 0 else number

    def _find(self, hashes: Hashes) -> Int32s:
        if not self.sealed:
            return np.full(len(hashes), -1, np.int32)
        places = np.minimum(np.searchsorted(self._sorted, hashes), self.sealed - 1)
        return np.where(self._sorted[places] == hashes, self._order[places], np.int32(-1))

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """The kind of each id: user, anonymous or cookieless."""
        return np.concatenate([self._kinds, np.array(self._added_kinds, np.uint8)])

    def ids(self, numbers: NDArray[Any]) -> list[str]:
        """Return the ids that have *numbers*."""
        old = numbers[numbers < self.sealed]
        texts: list[str] = self._ids.take(pa.array(old)).to_pylist() if len(old) else []
        if len(old) == len(numbers):
            return texts
        given = iter(texts)
        return [
            next(given) if number < self.sealed else self._added_ids[number - self.sealed]
            for number in numbers.tolist()
        ]

    def all_owners(self, changed: dict[str, str | None]) -> Int32s:
        """Return the owner of each number; *changed* maps anonymous ids to their owner if it differs from before."""
        anons = self.numbers([ANON] * len(changed), list(changed))
        named = [owner for owner in changed.values() if owner is not None]
        users = iter(self.numbers([USER] * len(named), named).tolist())
        targets = [
            anon if owner is None else next(users) for anon, owner in zip(anons.tolist(), changed.values(), strict=True)
        ]
        owners = np.concatenate([self.owners, np.arange(self.sealed, len(self), dtype=np.int32)])
        owners[anons] = np.array(targets, np.int32)
        return owners

    def table(self, owners: Int32s, first: Int64s, first_human: Int64s) -> Any:
        """Return the contents of the file of all ids, new ones included."""
        added = np.fromiter(self._added, np.uint64, len(self._added))
        ids = pa.chunked_array([*self._ids.chunks, pa.array(self._added_ids, pa.string())], pa.string())
        columns = [self.kinds, ids, owners, first, first_human, np.concatenate([self.hashes, added])]
        return pa.table(dict(zip(_COLUMNS, columns, strict=True)))


_COLUMNS = ("kind", "id", "owner", "first", "first_human", "hash")


def _array(table: Any, name: str, kind: type[Any]) -> NDArray[Any]:
    if table is None:
        return np.zeros(0, kind)
    array: NDArray[Any] = table.column(name).to_numpy()
    return array


def earliest(count: int, owners: NDArray[Any], times: Int64s) -> Int64s:
    """Return for each of *count* owners the earliest of its *times*, `NEVER` without one."""
    found = np.full(count, NEVER, np.int64)
    np.minimum.at(found, owners, times)
    return found
