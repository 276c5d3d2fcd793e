"""Examples on pages are Python and JSON, and those of reports and alerts are settings that are taken."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pages import PAGES, ROOT, read

from analytics_middleware import Settings

BLOCKS = [
    pytest.param(language, block, id=f"{page.relative_to(ROOT)} {number}")
    for page in PAGES
    for number, (language, block) in enumerate(
        re.findall(r"(?ms)^```(python|json)\n(.*?)^```", page.read_text("utf-8")), start=1
    )
]


@pytest.mark.parametrize(("language", "block"), BLOCKS)
def test_every_example_is_in_its_language(language: str, block: str) -> None:
    if language == "python":
        ast.parse(block)
    else:
        json.loads(block)


def test_the_settings_on_the_page_of_reports_and_alerts_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"HOOK_SECRET": "whsec_" + "A" * 43 + "=", "SMTP_PASSWORD": "not a password"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    given: dict[str, object] = {}
    for block in re.findall(r"(?ms)^```python\n(.*?)^```", read("reports.md")):
        exec("import os\n" + block, given)
    settings = Settings(**{name: given[name] for name in ("mail", "report_to", "alerts")})
    assert len(settings.alerts) == 3
    assert len(settings.report_to) == 3
    assert settings.mail.host == "smtp.example"
