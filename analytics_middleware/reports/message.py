"""A message in the forms that mail clients, chats and programs read."""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from analytics_middleware.plain_text import safe
from analytics_middleware.web.templating import environment

_TEMPLATES: Final = Path(__file__).parent / "templates"
_SUBJECT: Final = 150

_to_json = msgspec.json.Encoder(enc_hook=str).encode


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A report or an alert, ready to be sent."""

    id: str
    """The same id whenever the same message is sent again."""
    kind: str
    """``analytics.report`` or ``analytics.alert``."""
    subject: str
    """One line."""
    text: str
    html: str
    data: Any
    """The figures, to be encoded as JSON."""

    def json(self) -> bytes:
        """Return the message as webhooks receive it.

        Slack, Mattermost and Google Chat show `text`, which is in Slack's syntax
        (https://docs.slack.dev/messaging/formatting-message-text). The three special characters are escaped, so that
        the name of a page can't mention a member or hide a link.
        """
        shown = self.text.replace("```", "'''")
        for char, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            shown = shown.replace(char, escaped)
        return _to_json(
            {
                "type": self.kind,
                "id": self.id,
                "subject": self.subject,
                "text": f"```\n{shown}\n```",
                "html": self.html,
                "data": self.data,
            }
        )


def one_line(text: object, most: int = _SUBJECT) -> str:
    """Return *text* without line breaks, control characters and marks that change the text's direction."""
    return safe(" ".join(str(text).split()), most)


@cache
def _environment() -> Any:
    import jinja2

    found: Any = environment().overlay(loader=jinja2.FileSystemLoader(_TEMPLATES))
    found.filters["one_line"] = one_line
    return found


def html(template: str, **values: Any) -> str:
    """Return the HTML that *template* makes of *values*. Raises `MissingExtraError` without Jinja2."""
    environment()
    text: str = _environment().get_template(template).render(**values)
    return text
