"""The pages of the documentation, for tests that read them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md", *sorted(DOCS.glob("*.md"))]
"""Every page that people read."""


def read(name: str) -> str:
    """Return the text of a page of docs/."""
    return (DOCS / name).read_text("utf-8")


def sections(text: str, level: int = 2) -> dict[str, str]:
    """Return the text below each heading of *level*, by heading; what is above the first is under the empty name."""
    parts = re.split(rf"(?m)^{'#' * level} +(.*)\n", text)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"(?m)^#+ +(.*)$", without_code(text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        number = 0
        while (made := slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(made)
    return found


def without_code(text: str) -> str:
    """Return *text* without its fenced blocks, in which # begins no heading and brackets make no link."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", text)


def spans(text: str) -> set[str]:
    """Return what stands between single backticks."""
    return set(re.findall(r"`([^`\n]+)`", without_code(text)))


def rows(text: str) -> dict[str, str]:
    """Return each table row that begins with code, by that code: `| `GET volume` | … |`."""
    return {match[1]: match[0] for match in re.finditer(r"(?m)^\| `([^`]+)`.*$", text)}
