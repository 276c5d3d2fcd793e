"""Caches for functions of untrusted text, bounded in characters as well as in entries."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar, TypeVarTuple

MAX_REMEMBERED: Final = 512
"""Answers are cached for texts of up to this many characters in all.

Longer ones are rare and seldom repeat: keeping them would cost memory for good and save nothing.
"""

Texts = TypeVarTuple("Texts")
Answer = TypeVar("Answer")


class _Answers(dict[Any, Any]):
    def __init__(self, function: Callable[..., Any], size: int) -> None:
        super().__init__()
        self._function = function
        self._size = size

    def __missing__(self, texts: tuple[Any, ...]) -> Any:
        answer = self._function(*texts)
        if sum(len(text) for text in texts if isinstance(text, str)) <= MAX_REMEMBERED:
            if len(self) >= self._size:
                self.clear()
            self[texts] = answer
        return answer


def remembered(size: int) -> Callable[[Callable[[*Texts], Answer]], Callable[[*Texts], Answer]]:
    """Return a decorator that caches up to *size* answers of a function whose arguments are positional.

    A full cache is emptied. Answers for texts of more than `MAX_REMEMBERED` characters in all are not cached.
    """

    def decorate(function: Callable[[*Texts], Answer]) -> Callable[[*Texts], Answer]:
        # A dict and not functools.lru_cache, for which the lengths would have to be checked at every call.
        answers = _Answers(function, size)

        @wraps(function)
        def answer(*texts: *Texts) -> Answer:
            return answers[texts]  # type: ignore[no-any-return]

        return answer

    return decorate
