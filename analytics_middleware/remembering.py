"""Caches for functions of texts that strangers write, bounded in characters too."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar, TypeVarTuple

MAX_REMEMBERED: Final = 512
"""Characters that a cache keeps of what strangers write in one request; longer texts are worked out each time.

They are rare, and each is another as a rule: keeping them would cost memory for good and save nothing.
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
    """Have a function, which is called by position, remember its answers: *size* of them, and then it starts over.

    Those to texts of more than `MAX_REMEMBERED` characters in all are not remembered.
    """

    def decorate(function: Callable[[*Texts], Answer]) -> Callable[[*Texts], Answer]:
        # A look into a dict, and not functools.lru_cache: that would need a look at the lengths first, at every call.
        answers = _Answers(function, size)

        @wraps(function)
        def answer(*texts: *Texts) -> Answer:
            return answers[texts]  # type: ignore[no-any-return]

        return answer

    return decorate
