"""Values as numbers: within a process each distinct value of a field has a code; 0 means absent."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from analytics_middleware.store._arrays import Codes, Int32s, Mask, narrowed, np, pa
from analytics_middleware.store.columns import from_json
from analytics_middleware.store.filters import Filter, as_text


class Vocabulary:
    """The distinct values of one field. It only grows; codes stay valid.

    Filters and texts are computed once per distinct value, by the functions that other stores use too.
    """

    def __init__(self, decode: Callable[[Any], Any] | None = None) -> None:
        self._decode = decode
        self._lock = threading.Lock()
        self._codes: dict[Any, int] = {}
        self.values: list[Any] = [None]
        self._text_numbers: dict[str, int] = {}
        self._texts: list[str] = []
        self._text_of = [-1]

    def codes(self, tokens: Iterable[Any]) -> Int32s:
        """Return the codes of *tokens*, which are stored values; None is absent."""
        known, found = self._codes, list[int]()
        with self._lock:
            for token in tokens:
                code = 0 if token is None else known.get(token)
                if code is None:
                    known[token] = code = len(self.values)
                    self.values.append(token if self._decode is None else self._decode(token))
                found.append(code)
        return np.array(found, np.int32)

    def encode(self, column: Any) -> Codes:
        """Return the codes of an Arrow column."""
        parts: list[Codes] = []
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
            codes = np.append(self.codes(encoded.dictionary.to_pylist()), np.int32(0))
            codes = narrowed(codes, len(self.values))
            indexes = encoded.indices
            if indexes.null_count:
                indexes = indexes.fill_null(len(codes) - 1)
            parts.append(codes[indexes.to_numpy(zero_copy_only=False)])
        return np.concatenate(parts) if parts else np.zeros(0, np.uint8)

    def tokens(self) -> list[Any]:
        """Return the stored values in the order of their codes, from 1 on."""
        with self._lock:
            return list(self._codes)

    def translated(self, column: Codes, tokens: Sequence[Any]) -> Codes:
        """Return *column*, whose codes from 1 on stand for *tokens*, in the codes of this vocabulary."""
        codes = np.concatenate([np.zeros(1, np.int32), self.codes(tokens)])
        if (codes == np.arange(len(codes))).all():
            return column
        translated: Codes = narrowed(codes, len(self.values))[column]
        return translated

    def code(self, token: Any) -> int | None:
        """Return the code of *token*, None if no event has it."""
        return self._codes.get(token)

    def matches(self, condition: Filter) -> Mask:
        """Return for each code whether its value passes *condition*."""
        return np.fromiter((condition.matches(value) for value in self.values), np.bool_, len(self.values))

    def texts(self) -> tuple[Int32s, list[str]]:
        """Return the index of each code's text, -1 if it counts as absent, and the texts."""
        for value in self.values[len(self._text_of) :]:
            text = as_text(value)
            if text is None:
                self._text_of.append(-1)
            else:
                number = self._text_numbers.setdefault(text, len(self._texts))
                if number == len(self._texts):
                    self._texts.append(text)
                self._text_of.append(number)
        return np.array(self._text_of, np.int32), self._texts


class Vocabularies:
    """A vocabulary for each field."""

    def __init__(self) -> None:
        self._fields: dict[str, Vocabulary] = {}
        self.lock = threading.RLock()
        """Held while loading columns, because that adds values."""

    def __getitem__(self, field: str) -> Vocabulary:
        if field not in self._fields:
            json = field.startswith(("properties.", "traits."))
            self._fields[field] = Vocabulary(from_json if json else None)
        return self._fields[field]
