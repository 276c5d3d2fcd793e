"""The shapes that settings' values may have, whatever they are for: texts, numbers, lists, functions, paths, secrets.

Each function takes the setting's key and value, returns the value in the form in which it is kept, and raises
`ConfigurationError` if it has another shape.
"""

import re
from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, TypeGuard

from analytics_middleware.errors import ConfigurationError
from analytics_middleware.outgoing.secret import MASK, Secret, guarded

Hook = Callable[..., Any]

_MIN_SECRET = 16
"""Characters. RFC 6749 section 10.10 wants the chance of guessing a token to be 2**-128 at most, as with 16 random
bytes; shorter texts are words that people made up."""


def wrong(key: str, value: Any, right: str) -> ConfigurationError:
    return ConfigurationError(f"analytics setting {key!r} is {value!r}; it must be {right}")


def wrong_unseen(key: str, value: object, right: str) -> ConfigurationError:
    return ConfigurationError(f"analytics setting {key!r} is {guarded(value)}; it must be {right}")


def boolean(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong(key, value, "True or False")
    return value


def optional_boolean(key: str, value: object) -> bool | None:
    return None if value is None else boolean(key, value)


def text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise wrong(key, value, "a non-empty string")
    return value


def optional_text(key: str, value: object) -> str | None:
    return None if value is None else text(key, value)


def positive_integer(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(key, value, "an integer of at least 1")
    return value


def optional_positive_integer(key: str, value: object) -> int | None:
    return None if value is None else positive_integer(key, value)


def count(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise wrong(key, value, "an integer of at least 0")
    return value


def seconds(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 3600:
        raise wrong(key, value, "a number of seconds from 0 to 3600")
    return float(value)


def sequence(key: str, value: Any) -> tuple[Any, ...]:
    if not _is_list(value):
        raise wrong(key, value, "a list")
    return tuple(value)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    # A lone string would otherwise be taken for a list of its characters.
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def names(key: str, value: Any) -> tuple[str, ...]:
    entries = sequence(key, value)
    if not all(isinstance(each, str) and each for each in entries):
        raise wrong(key, value, "a list of names such as 'q'")
    return entries


def one_of(*values: str | None) -> Callable[[str, object], Any]:
    def check(key: str, value: object) -> object:
        if value not in values:
            raise wrong(key, value, " or ".join(map(repr, values)))
        return value

    return check


def function(key: str, value: object) -> Hook | None:
    if value is not None and not callable(value):
        raise wrong(key, value, "callable or None")
    return value


def synchronous_function(key: str, value: object) -> Hook | None:
    hook = function(key, value)
    if is_async(hook):
        raise wrong(key, value, "callable or None, and not async: it is asked where nothing can be awaited")
    return hook


def is_async(hook: object) -> bool:
    """Whether calling *hook* gives something to await."""
    # Of a callable object, the `__call__` of its class tells.
    return iscoroutinefunction(hook) or iscoroutinefunction(type(hook).__call__)


def functions(key: str, value: object) -> tuple[Hook, ...]:
    hooks = sequence(key, value)
    for hook in hooks:
        if not callable(hook) or is_async(hook):
            raise wrong(key, value, "a list of callables event -> event or None, none of them async")
    return hooks


def _path(key: str, value: Any, what: str) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, Path)) or not str(value):
        raise wrong(key, value, f"the path of {what} or None")
    try:
        # Absolute from the start: a process that changes its working directory must not begin a second log.
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise wrong(key, value, f"the path of {what}, and there is no such home") from None


def directory(key: str, value: Any) -> Path | None:
    path = _path(key, value, "a directory")
    if path is not None and path.is_file():
        raise wrong(key, value, "the path of a directory, and this is a file")
    return path


def file(key: str, value: Any) -> Path | None:
    path = _path(key, value, "a file")
    if path is not None and not path.is_file():
        raise wrong(key, value, "the path of a file that exists")
    return path


def header_name(key: str, value: object) -> str:
    name = text(key, value).lower()
    if not re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]+", name):
        raise wrong(key, value, "a header name such as 'x-forwarded-for'")
    return name


def optional_header_name(key: str, value: object) -> str | None:
    return None if value is None else header_name(key, value)


def optional_secret(key: str, value: object) -> Secret | None:
    # The message must not quote the value: it goes to logs.
    if value is None or isinstance(value, Secret):
        return value
    if not isinstance(value, str) or len(value) < _MIN_SECRET or not value.isascii() or not value.isprintable():
        raise ConfigurationError(
            f"analytics setting {key!r} is {MASK}; it must be a random text of {_MIN_SECRET} ASCII characters or more, "
            "such as secrets.token_urlsafe() makes"
        )
    return Secret(value)
