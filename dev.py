#!/usr/bin/env python3
"""Everything a newcomer needs: sets up a virtual environment next to this file and runs something in it.

    python3 dev.py demo          the demo: an app, traffic, its events
    python3 dev.py test          all tests; further arguments go to pytest
    python3 dev.py check         what CI runs: tests on every supported Python, linters, types, the built wheel

Needs nothing but Python 3.11 or later; works from any directory.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
# One more than the number of CPUs: many tests wait for a server.
WORKERS = f"-n{(os.cpu_count() or 1) + 1}"
# Tests that only make sense in a checkout, and slow tests whose result does not depend on the Python version (browsers,
# other servers, whole hosts): running them for each version would take too long.
NOT_FOR_THE_WHEEL = (
    "--ignore=tests/test_packaging.py",
    "--ignore=tests/test_demo.py",
    "--ignore=tests/browser",
    "--ignore=tests/clickhouse",
    "--ignore=tests/collectors/test_contract.py",
    "--ignore=tests/collectors/test_faults.py",
    "--ignore=tests/commands/test_erase.py",
    "--ignore=tests/commands/test_replay.py",
    "--ignore=tests/commands/test_target.py",
    "--ignore=tests/docs",
    "--ignore=tests/hub",
    "--ignore=tests/outbox/test_kill.py",
    "--ignore=tests/store/test_clickhouse.py",
    "--ignore=tests/store/test_store_comparison.py",
    "--ignore=tests/test_celery.py",
    "--ignore=tests/test_examples.py",
    "--ignore=tests/test_examples_questions.py",
    "--ignore=tests/test_replay.py",
    "--ignore=tests/web/test_abuse.py",
    "--ignore=tests/web/test_openapi.py",
    "--ignore=tests/web/test_streaming.py",
    "-k",
    "not clickhouse",
)


# The Pythons for which the oldest supported packages have wheels. One of these tests them, the others the newest.
OLDEST_ON = ("3.11", "3.12")
# The oldest versions of frameworks use what newer ones of other packages warn of.
OLD_WARNS = ("-W", "ignore::DeprecationWarning", "-W", "ignore::PendingDeprecationWarning")


def main() -> int:
    """Run the sub-command."""
    if sys.version_info < (3, 11):
        sys.exit(f"Python 3.11 or later is needed; this is {sys.version.split()[0]}: try python3.13 {sys.argv[0]}")
    command, *rest = sys.argv[1:] or ["help"]
    if command == "demo":
        return run(bin_of(environment(".venv"), "python"), "-m", "analytics_middleware", "demo", *rest)
    if command == "test":
        install_browser()
        return run(bin_of(environment(".venv"), "pytest"), *(rest or [WORKERS]))
    if command == "check":
        return check()
    print(__doc__)
    return 2


def environment(name: str, python: str = sys.executable, *installs: str) -> Path:
    """Return a virtual environment with *installs* in it, one after the other, created or updated as needed."""
    installs = installs or ("-e .[dev]",)
    directory = ROOT / name
    if not bin_of(directory, "python").exists():
        say(f"creating {name} with {python}")
        must(python, "-m", "venv", str(directory))
    stamp = directory / "installed"
    wanted = "\n".join([(ROOT / "pyproject.toml").read_text(), *installs])
    if not stamp.exists() or stamp.read_text() != wanted:
        python = str(bin_of(directory, "python"))
        must(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "uv")
        for install in installs:
            say(f"installing {install} into {name}")
            must(bin_of(directory, "uv"), "pip", "install", "-q", "--python", python, *install.split())
        stamp.write_text(wanted)
    return directory


def oldest(wheel: Path) -> str:
    """Return what installs *wheel* and the oldest versions that it declares, of all that users may have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ",".join(name for name in project["optional-dependencies"] if name != "dev")
    return f"--resolution lowest-direct {wheel}[{extras}]"


def check() -> int:
    """Do what CI does; return the number of steps that failed."""
    began = time.monotonic()
    install_browser()
    here = environment(".venv")
    python = bin_of(here, "python")
    failed: list[str] = []

    def step(title: str, *command: "str | Path", cwd: Path = ROOT) -> None:
        say(title)
        if run(*command, cwd=cwd):
            failed.append(title)

    step("ruff check", bin_of(here, "ruff"), "check", "-q")
    step("ruff format", bin_of(here, "ruff"), "format", "--check", "-q")
    step("mypy", bin_of(here, "mypy"))
    step("pyright", bin_of(here, "pyright"), "--pythonpath", python)
    with tempfile.TemporaryDirectory() as scratch:
        step("build the wheel", bin_of(here, "uv"), "build", "-q", "--out-dir", scratch, "--python", python)
        wheels = list(Path(scratch).glob("*.whl"))
        step(f"tests on {'.'.join(map(str, sys.version_info[:2]))}", bin_of(here, "pytest"), "-q", WORKERS)
        # Copied without the packages' sources, the tests can only import the installed wheel.
        tree = Path(scratch) / "tree"
        for name in ("tests", "examples", "docs", "pyproject.toml", "README.md", "CHANGELOG.md"):
            copy(ROOT / name, tree / name)
        for index, (version, interpreter) in enumerate(pythons().items() if wheels else ()):
            installs, options = [f"{wheels[0]}[dev]"], [*NOT_FOR_THE_WHEEL]
            title = f"tests against the installed wheel on {version}"
            if index == 0 and version in OLDEST_ON:
                installs.insert(0, oldest(wheels[0]))
                options += OLD_WARNS
                title += ", with the oldest packages"
            other = environment(f".venv-wheel-{version}", interpreter, *installs)
            step(title, bin_of(other, "pytest"), "-q", WORKERS, *options, cwd=tree)
    minutes = (time.monotonic() - began) / 60
    say(f"failed: {', '.join(failed)}" if failed else f"all passed, after {minutes:.1f} minutes")
    return len(failed)


def pythons() -> dict[str, str]:
    """Return the interpreters of other supported versions on this machine, or this one if there are none."""
    found: dict[str, str] = {}
    current = ".".join(map(str, sys.version_info[:2]))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in SUPPORTED:
        candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
        for candidate in candidates:
            if candidate and version != current and works(str(candidate), version):
                found[version] = str(candidate)
                break
    return found or {current: sys.executable}


def works(python: str, version: str) -> bool:
    """Return whether *python* runs and has *version* (pyenv's shims exist for versions that are not selected)."""
    code = "import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:2])))"
    result = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return result.stdout.strip() == version


def install_browser() -> None:
    """Install Chromium with the system's package manager if it is missing and we have the rights."""
    if shutil.which("chromium") or shutil.which("google-chrome") or not (ROOT / "tests" / "browser").exists():
        return
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        say("installing chromium for the browser tests")
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
    else:
        say("chromium is missing: install it to run the browser tests")


def copy(source: Path, target: Path) -> None:
    """Copy a file or a tree without caches."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def bin_of(directory: Path, name: str) -> Path:
    """Return the path of program *name* in a virtual environment."""
    return directory / ("Scripts" if os.name == "nt" else "bin") / name


def run(*command: "str | Path", cwd: Path = ROOT) -> int:
    """Run *command* and return its exit code."""
    try:
        return subprocess.run([str(word) for word in command], cwd=cwd, check=False).returncode
    except KeyboardInterrupt:
        return 130


def must(*command: "str | Path") -> None:
    """Run *command*; exit if it fails."""
    if code := run(*command):
        sys.exit(code)


def say(text: str) -> None:
    """Print a heading."""
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
