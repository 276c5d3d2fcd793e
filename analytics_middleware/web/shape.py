"""Decodes JSON from strangers, after checking how deep and how large it is: decoders are recursive."""

import re
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 32
MAX_NODES: Final = 20_000

# A string is matched as a whole, so that brackets inside it don't count. One that never ends is matched up to the end
# of the text; otherwise each quote in it would be tried again. Possessive quantifiers: no backtracking.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]|,', re.DOTALL)


class ShapeError(ValueError):
    """A text that is not JSON, or too deep or too large; the message says which."""


def decode(data: bytes, decoder: "msgspec.json.Decoder[Any] | None" = None) -> Any:
    """Return the value of the JSON text *data*.

    NaN and infinities are refused, and so are lone surrogates and numbers out of range (RFC 8259 sections 6 and 8.2);
    of a repeated key the last one counts. Raises `ShapeError`, or `msgspec.ValidationError` if *decoder* refuses it.
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
    # Limits of recursion differ between versions of Python and of decoders; this limit is always the same.
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
