"""Links within the documentation lead somewhere, and every page is found from the index."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pages import DOCS, PAGES, ROOT, anchors, without_code

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_and_a_heading_leads_there(page: Path) -> None:
    dead: list[str] = []
    for target in LINK.findall(without_code(page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text("utf-8"))):
            dead.append(target)
    assert dead == []


def test_the_index_has_every_page_once() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    rows = [target for line in index.splitlines() if line.startswith("| [") for target in LINK.findall(line)[:1]]
    assert sorted(rows) == sorted(page.name for page in DOCS.glob("*.md") if page.name != "README.md")


def test_the_readme_leads_to_the_index() -> None:
    assert "docs/README.md" in LINK.findall((ROOT / "README.md").read_text("utf-8"))
