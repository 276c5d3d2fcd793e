"""What stands on the page of a framework runs as it stands: applications, their tests, and commands."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pages import ROOT, read

LIMIT = 60
FRAMEWORKS = ["django", "flask", "starlette"]
SERVERS = {"gunicorn", "uvicorn"}
IMPORTS = [str(Path(each).resolve()) for each in sys.path if each and Path(each).is_dir()]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", read(f"{page}.md"))


def lines(page: str) -> list[list[str]]:
    """Return the commands of a page as words."""
    return [
        shlex.split(line[2:]) for block in blocks(page, "console") for line in block.splitlines() if line[:2] == "$ "
    ]


class Project:
    """The files of a page in a directory of their own."""

    def __init__(self, page: str, directory: Path) -> None:
        self.directory = directory
        self.modules: list[str] = []
        for block in blocks(page, "python"):
            named = re.match(r"# ([\w/]+\.py)\n", block)
            assert named, f"docs/{page}.md: a block does not begin with the name of its file: {block[:60]!r}"
            file = directory / named[1]
            assert not file.exists(), f"docs/{page}.md has {named[1]} twice"
            file.parent.mkdir(exist_ok=True)
            file.write_text(block)
            self.modules.append(named[1].removesuffix(".py").replace("/", "."))

    def run(self, *words: str) -> str:
        """Run a program in the directory, as outside of tests, and return what it printed."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "ANALYTICS", "DJANGO"))
        }
        ended = subprocess.run(
            [sys.executable, "-W", "error", *words],
            cwd=self.directory,
            env={**kept, "PYTHONPATH": os.pathsep.join([str(self.directory), *IMPORTS])},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"
        return ended.stdout + ended.stderr


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return Project(request.param, tmp_path)


@pytest.mark.parametrize("project", ["flask", "starlette"], indirect=True)
def test_every_module_of_a_page_runs_and_its_tests_pass(project: Project) -> None:
    applications = [name for name in project.modules if not name.startswith("test_")]
    made = [f"    assert callable(getattr({name}, 'app', None) or {name}.create_app())" for name in applications]
    lines = [f"import {', '.join(applications)}", "def test_modules():", *made]
    (project.directory / "test_modules.py").write_text("\n".join(lines))
    plain = ["-p", "no:randomly", "-p", "no:cacheprovider", "-q", "-W", "error"]
    assert re.search(r"\b3 passed", project.run("-m", "pytest", *plain))


@pytest.mark.parametrize("project", ["django"], indirect=True)
def test_the_django_project_of_its_page_is_sound_and_its_tests_pass(project: Project) -> None:
    said = project.run("manage.py", "test", "shop")
    assert "no issues" in said
    assert "Ran 2 tests" in said


@pytest.mark.parametrize("project", ["flask", "starlette", "django"], indirect=True)
def test_every_command_of_a_page_runs(project: Project, request: pytest.FixtureRequest) -> None:
    """Those that start a server are looked at: what they serve is there."""
    page = request.node.callspec.params["project"]
    ran = 0
    for words in lines(page):
        match words:
            case ["pip", "install", requirement]:
                named = re.fullmatch(r"analytics-middleware\[([\w,]+)\]", requirement)
                assert named
                extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
                assert set(named[1].split(",")) <= extras.keys()
            case ["flask", "--app", name, "run"]:
                assert name in project.modules
            case ["python", "manage.py", "runserver" | "test" | "check"]:
                continue
            case ["python", "manage.py", "test", _]:
                continue
            case ["python", "manage.py", *rest]:
                project.run("manage.py", *rest)
                ran += 1
            case ["flask", *rest]:
                project.run("-m", "flask", *rest)
                ran += 1
            case ["analytics-middleware", *rest]:
                project.run("-m", "analytics_middleware", *rest)
                ran += 1
            case [server, *rest] if server in SERVERS:
                [target] = [word for word in rest if ":" in word]
                module, _, attribute = target.partition(":")
                source = (project.directory / f"{module.replace('.', '/')}.py").read_text()
                assert re.search(rf"(?m)^{attribute} = ", source)
            case _:
                raise AssertionError(words)
    assert ran >= 2


@pytest.mark.parametrize("page", FRAMEWORKS)
def test_every_page_goes_the_same_way(page: str) -> None:
    headings = re.findall(r"(?m)^## (.*)$", read(f"{page}.md"))
    order = ["Install", "Settings", "Who somebody is", "Tests", "Commands", "In production"]
    assert [each for each in headings if each in order] == order
