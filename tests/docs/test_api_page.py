"""The page of the REST API has every route of the OpenAPI document, and every parameter."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pages import read, sections, spans

from analytics_middleware.web.openapi import document

PAGE = read("api.md")
ASKING = sections(PAGE)["Asking"]
OPERATIONS = [
    pytest.param(method, path, operation, id=f"{method.upper()} {path}")
    for path, methods in document(65_536)["paths"].items()
    for method, operation in methods.items()
]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_route_is_on_the_page_with_its_parameters(method: str, path: str, operation: dict[str, Any]) -> None:
    route = f"{method.upper()} {path.strip('/')}"
    about = [paragraph for paragraph in re.split(r"\n\n|\n(?=\|)", PAGE) if f"`{route}`" in paragraph]
    assert about, f"docs/api.md says nothing of {route}"
    known = {"from", "to", "tz", "where", "bots", "breakdown", "breakdown_limit"} | spans("\n".join(about))
    known |= spans(sections(PAGE)["Who may write"])
    named = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "that question's own" in about[0]:
        named &= {"of", "cell", "at", "limit"}
    assert named <= known, f"docs/api.md: {route} takes {', '.join(sorted(named - known))} too"


def test_the_page_has_no_route_that_there_is_not() -> None:
    known = {
        f"{method.upper()} {path.strip('/')}" for path, methods in document(1)["paths"].items() for method in methods
    }
    named = {span.partition("?")[0] for span in spans(PAGE) if re.match(r"(GET|POST|DELETE|PUT) [a-z]", span)}
    assert named - known == {"GET login"}


def test_what_every_question_takes_is_in_one_table() -> None:
    for name in ("from", "to", "tz", "where", "bots", "breakdown", "breakdown_limit"):
        assert f"`{name}`" in ASKING.partition("| question |")[0]
