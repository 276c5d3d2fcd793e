"""What the ``doctor`` command looks at. Each examination returns findings and changes nothing."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """What an examination found."""

    level: Literal["ok", "warning", "problem"]
    subject: str
    text: str
    advice: str = ""
