"""JSON from strangers: how deep and how large it is, known before anything recursive sees it."""

import re
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 32
MAX_NODES: Final = 20_000

# A string whole, so that brackets inside count for nothing; one that never ends is skipped to the end of the text at
# once, or every quote in it would be tried again. Possessive: nothing here is ever tried twice.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]|,', re.DOTALL)


class ShapeError(ValueError):
    """A text that no decoder should be given; the message says why."""


def decode(data: bytes, decoder: "msgspec.json.Decoder[Any] | None" = None) -> Any:
    """Return what the JSON text *data* says.

    NaN and infinities are refused, and so are lone surrogates and numbers out of range (RFC 8259 sections 6 and 8.2);
    of a repeated key the last one counts. Raises `ShapeError`, or `msgspec.ValidationError` for what *decoder* refuses.
    """
    _measure(data)
    try:
        return (decoder or _any).decode(data)
    except msgspec.ValidationError as error:
        if decoder is not None:
            raise
        raise ShapeError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ShapeError(f"not JSON: {error}"[:200]) from None


def _measure(data: bytes) -> None:
    # Recursion limits differ between versions of Python and of decoders; this one does not.
    depth = nodes = 0
    for match in _TOKEN.finditer(data):
        token = data[match.start()]
        if token in b"[{":
            depth += 1
            nodes += 1
            if depth > MAX_DEPTH:
                raise ShapeError(f"nested more than {MAX_DEPTH} deep")
        elif token in b"]}":
            depth -= 1
        elif token == 44:  # a comma
            nodes += 1
        if nodes > MAX_NODES:
            raise ShapeError(f"more than {MAX_NODES} values")


_any: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder()
