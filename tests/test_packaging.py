"""What is shipped: the packages, the public names and what they say of themselves."""

import importlib
import importlib.metadata
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import analytics_middleware

ROOT = Path(__file__).parents[1]
PUBLIC_MODULES = ["analytics_middleware", "analytics_middleware.collectors", "analytics_middleware.testing"]
PROMISED = {
    "analytics_middleware": {
        *("Analytics", "Settings", "Event", "EventType", "Money", "track", "identify", "set_revenue", "add_property"),
        *("set_event_name", "set_action_name", "set_user"),
    },
    "analytics_middleware.collectors": {"Collector", "BatchCollector", "StdoutCollector"},
    "analytics_middleware.testing": {"analytics_events", "capture_events", "FakeCollector"},
}


@pytest.fixture(scope="module")
def pyproject():
    file = ROOT / "pyproject.toml"
    if not file.exists():
        pytest.skip("the tests run without the project's sources")
    return tomllib.loads(file.read_text())


def test_every_adapter_is_in_the_wheel_and_every_package_of_the_wheel_exists(pyproject):
    adapters = {f"adapters/{path.parent.name}" for path in (ROOT / "adapters").glob("*/__init__.py")}
    packages = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) == {"analytics_middleware", *adapters}
    assert len(adapters) >= 3


def test_every_adapter_has_an_extra_of_its_name(pyproject):
    extras = pyproject["project"]["optional-dependencies"]
    for path in (ROOT / "adapters").glob("*/__init__.py"):
        assert path.parent.name.removeprefix("analytics_middleware_") in extras


def test_every_package_says_that_it_is_typed(pyproject):
    for package in pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (ROOT / package / "py.typed").is_file(), package


def test_the_base_depends_on_three_small_packages_only(pyproject):
    names = {re.match(r"[a-z0-9-]+", requirement)[0] for requirement in pyproject["project"]["dependencies"]}
    assert names == {"msgspec", "urllib3", "asgiref"}


def test_the_version_is_that_of_the_installed_distribution():
    version = analytics_middleware.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", version)
    assert importlib.metadata.version("analytics-middleware") == version


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_all_is_sorted_and_says_what_can_be_imported(name):
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(set(module.__all__))
    assert PROMISED[name] <= set(module.__all__)
    for public in module.__all__:
        assert hasattr(module, public), public


@pytest.mark.parametrize("name", ["analytics_middleware", "analytics_middleware.collectors"])
def test_a_public_class_or_function_that_is_not_in_all_is_not_there_by_accident(name):
    module = importlib.import_module(name)
    accidental = {
        public
        for public, value in vars(module).items()
        if public not in module.__all__
        and not public.startswith("_")
        and getattr(value, "__module__", "").startswith("analytics_middleware")
    }
    assert accidental == set()


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_every_public_name_and_its_methods_have_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__
    missing = []
    for public in module.__all__:
        value = getattr(module, public)
        if not inspect.getdoc(value):
            missing.append(public)
        if inspect.isclass(value):
            for attribute, member in vars(value).items():
                function = getattr(member, "__func__", member)
                is_own = inspect.isfunction(function) or isinstance(member, property)
                if is_own and not attribute.startswith("_") and not inspect.getdoc(getattr(value, attribute)):
                    missing.append(f"{public}.{attribute}")
    assert missing == []


def test_the_pytest_plugin_is_registered_with_the_distribution():
    plugins = importlib.metadata.entry_points(group="pytest11")
    assert [plugin.value for plugin in plugins if plugin.name == "analytics_middleware"] == [
        "analytics_middleware.testing"
    ]
