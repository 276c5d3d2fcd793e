"""The OpenAPI document is what the API does: schemathesis makes requests of it, and looks at the answers."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from web_sites import MOUNT, SERVER, Site, site_on

EXAMPLES = 10
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def served():
    with site_on("ASGI", api_rate_limit=0) as site:
        site.send({"name": "a", "user_id": "ann", "properties": {"plan": "pro"}}, headers=SERVER)
        yield site


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_makes_a_server_error_and_every_answer_is_as_documented(served: Site, mode: GenerationMode):
    schema = schemathesis.openapi.from_asgi(f"{MOUNT}/openapi.json", served.app)
    operations = [result.ok() for result in schema.get_all_operations()]
    # All but the document itself, which it never asks for.
    paths = set(served.ask("GET", "openapi.json").json["paths"])
    assert {each.path for each in operations} == paths - {"/openapi.json"}
    for operation in operations:
        _exercise(operation, mode)


def _exercise(operation: Any, mode: GenerationMode) -> None:
    if mode is GenerationMode.NEGATIVE and operation.path == "/analytics.js":
        # It takes nothing, so there is nothing to get wrong.
        return
    cases = operation.as_strategy(generation_mode=mode)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def check(case: Any) -> None:
        case.validate_response(case.call(headers=SERVER), checks=CHECKS)

    check()


def test_the_document_says_where_it_was_served_and_lists_every_route_but_the_login(served: Site):
    document = served.ask("GET", "openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": MOUNT}]
    from analytics_middleware.web.api import API

    routes = API(served.analytics).routes
    assert set(document["paths"]) == set(routes) - {"/login"}
    for path, methods in document["paths"].items():
        assert {method.upper() for method in methods} == set(routes[path])


def test_clients_can_be_made_of_the_document_with_names_and_times(served: Site):
    document = served.ask("GET", "openapi.json").json
    components = document["components"]["schemas"]
    assert {"FunnelStep", "GroupFunnelStep", "GroupActive"} <= set(components)
    assert all(re.fullmatch("[A-Za-z]+", name) for name in components)
    assert all(component.get("title", name) == name for name, component in components.items())
    referred = set(re.findall('#/components/schemas/([^"]+)', msgspec.json.encode(document).decode()))
    assert referred == set(components)
    assert components["VolumePoint"]["properties"]["time"] == {"type": "string", "format": "date-time"}
    assert {"type": "string", "format": "date-time"} in components["UserRow"]["properties"]["day"]["anyOf"]


def test_the_document_is_the_same_each_time_and_needs_no_key(served: Site):
    first, second = served.ask("GET", "openapi.json"), served.ask("GET", "openapi.json")
    assert first.status == 200
    assert first.body == second.body


def test_every_route_and_parameter_is_in_the_docs(served: Site):
    text = (ROOT / "docs" / "api.md").read_text()
    from analytics_middleware.web.api import API

    for path, methods in API(served.analytics).routes.items():
        for method, route in methods.items():
            assert f"`{method} {path[1:]}`" in text, path
            for parameter in route.parameters:
                assert f"`{parameter.name}`" in text, (path, parameter.name)
    for documented in re.findall(r"`(?:GET|POST) ([\w.-]+)`", text):
        assert f"/{documented}" in API(served.analytics).routes
