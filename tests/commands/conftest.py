"""A shop in a directory of its own: its traffic is written by another process, and commands look after it."""

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from analytics_middleware import cli

LIMIT = 30

SHOP = '''
import os
from pathlib import Path

from analytics_middleware import Analytics
from analytics_middleware.collectors import BatchCollector
from analytics_middleware.errors import DeliveryError

HERE = Path(__file__).parent


class Vendor(BatchCollector):
    """Does what the file NAME.mode says; what it takes goes to NAME.got."""

    linger = 0.0

    def __init__(self, name, **options):
        super().__init__()
        self.name = name
        for option, value in options.items():
            setattr(self, option, value)

    def send(self, events):
        mode = HERE / f"{self.name}.mode"
        said = mode.read_text() if mode.exists() else ""
        if said == "down":
            raise DeliveryError("503 try later")
        if said == "refuse":
            raise DeliveryError("refused", rejected={event.event_id: "no such project" for event in events})
        if said == "retry":
            raise DeliveryError("busy", retry=[event.event_id for event in events[1:]] or [events[0].event_id])
        with (HERE / f"{self.name}.got").open("a") as file:
            file.writelines(event.encode().decode() + "\\n" for event in events)


analytics = Analytics(
    [
        Vendor("vendor"),
        Vendor("other", third_party=False, dedupes=True),
        Vendor("live", accepts_history=False, history_note="it has no timestamps"),
    ],
    data_dir=HERE / "data",
    store=None,
    enabled=True,
    background=os.environ.get("SHOP_BACKGROUND") != "no",
)
'''


class Shop:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        if not (path / "shop.py").exists():
            (path / "shop.py").write_text(SHOP)

    def configure(self, collector: str) -> None:
        """Have one more collector, made by the expression *collector*."""
        source = (self.path / "shop.py").read_text()
        (self.path / "shop.py").write_text(source.replace("    ],\n", f"        {collector},\n    ],\n", 1))

    def keep_a_store(self) -> None:
        """Have a store, which keeps what has left the log."""
        source = (self.path / "shop.py").read_text()
        (self.path / "shop.py").write_text(source.replace("    store=None,\n", ""))

    def environment(self, **more: str) -> dict[str, str]:
        """This process's, without what says that tests are running, for then analytics is off."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "ANALYTICS"))}
        return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join([str(self.path), *PATH]), **more}

    def mode(self, name: str, mode: str) -> None:
        (self.path / f"{name}.mode").write_text(mode)

    def got(self, name: str) -> list[dict[str, Any]]:
        file = self.path / f"{name}.got"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def record(self, code: str, *, flush: float = 5.0, **environment: str) -> None:
        """Run *code* in a process of its own, which then has *flush* seconds to deliver."""
        program = f"from shop import analytics\n{code}\nanalytics.flush({flush})\nanalytics.close(1)"
        self.python("-c", program, **environment)

    def python(self, *words: str, check: bool = True, **environment: str) -> "subprocess.CompletedProcess[str]":
        ended = subprocess.run(
            [sys.executable, *words],
            cwd=self.path,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert not check or ended.returncode == 0, ended.stderr
        return ended

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command on the shop's application, in this process: starting Python costs more than most commands."""
        source = (self.path / "shop.py").read_text()
        module: Any = ModuleType("shop")
        module.__file__ = str(self.path / "shop.py")
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            exec(compile(source, "shop.py", "exec"), vars(module))
            try:
                code = cli.main(words, application=lambda: module.analytics)
            except SystemExit as ended:
                code = int(ended.code or 0)
        module.analytics.outbox.close()
        assert not check or code == 0, err.getvalue()
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def program(self, *words: str, check: bool = True, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as a program, told by the environment which application is meant."""
        known = {"ANALYTICS_APP": "shop:analytics", **environment}
        return self.python("-m", "analytics_middleware", *words, check=check, **known)

    def start(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "analytics_middleware", *words],
            cwd=self.path,
            env=self.environment(**{"ANALYTICS_APP": "shop:analytics", **environment}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def status(self) -> dict[str, Any]:
        """Return what ``status --json`` says, after checking that every event is in exactly one place."""
        state: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        for name, each in state["collectors"].items():
            places = each["delivered"] + sum(each["dropped"].values()) + each["dead"] + each["pending"]
            assert each["accepted"] == places, (name, each)
        return state


PATH = [each for each in sys.path if each and Path(each).is_dir()]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def stored(shop: Shop) -> Shop:
    """A shop whose store keeps what has left the log."""
    shop.keep_a_store()
    return shop
