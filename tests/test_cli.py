"""The command line: one line for what is wrong, quiet ends, and nothing imported that was not asked for."""

import argparse
import subprocess
import sys
from types import SimpleNamespace

import pytest

from analytics_middleware import __version__, cli
from analytics_middleware.commands import COMMANDS, CommandError, load


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A command ``frob --size N`` whose `run` a test may replace."""
    made = SimpleNamespace(
        NAME="frob",
        HELP="Frob things.",
        configure=lambda parser: parser.add_argument("--size", type=int, required=True),
        run=lambda arguments: arguments.size,
    )
    monkeypatch.setattr(cli, "COMMANDS", ("frob", "other"))
    made.loaded = []

    def fake_load(name: str) -> SimpleNamespace:
        made.loaded.append(name)
        return made if name == "frob" else SimpleNamespace(**{**vars(made), "NAME": name})

    monkeypatch.setattr(cli, "load", fake_load)
    return made


def raising(error: BaseException):
    def run(arguments: argparse.Namespace) -> int:
        raise error

    return run


def test_the_exit_code_is_the_commands(command: SimpleNamespace) -> None:
    assert cli.main(["frob", "--size", "3"]) == 3


def test_only_the_command_asked_for_is_imported(command: SimpleNamespace) -> None:
    cli.main(["frob", "--size", "0"])
    assert command.loaded == ["frob"]


def test_the_help_names_every_command(command: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "frob" in out
    assert "other" in out
    assert "Frob things." in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["--app", "shop:app", "status"], "analytics-middleware: put the command first; options follow it (see"),
        (["forb", "--size", "1"], "invalid choice: 'forb'; did you mean 'frob'? (see"),
        (["frob"], "required: --size"),
        (["frob", "--size", "big"], "argument --size"),
        (["frob", "--siz", "1"], "required: --size"),
    ],
)
def test_asked_wrongly_it_says_so_in_one_line_and_ends_with_2(
    command: SimpleNamespace, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("analytics-middleware")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--app", "shop:app", "list"], "put the command first; options follow it"),
        (["lsit"], "invalid choice: 'lsit'; did you mean 'list'?"),
    ],
)
def test_so_it_is_with_what_a_command_is_to_do(
    capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["dead-letters", *words])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("error", [CommandError("no such outbox"), PermissionError(13, "Permission denied", "data")])
def test_a_command_that_fails_ends_with_1_and_one_line(
    command: SimpleNamespace, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    command.run = raising(error)
    assert cli.main(["frob", "--size", "1"]) == 1
    assert capsys.readouterr().err == f"analytics-middleware: {error}\n"


def test_a_bug_is_not_made_to_look_like_a_failure(command: SimpleNamespace) -> None:
    command.run = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["frob", "--size", "1"])


def test_an_interrupt_is_quiet(command: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    command.run = raising(KeyboardInterrupt())
    assert cli.main(["frob", "--size", "1"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_has_gone_is_no_error() -> None:
    """As in ``analytics-middleware … | head -1``: nothing on standard error, not even from the interpreter's end."""
    program = (
        "import sys; from types import SimpleNamespace; from analytics_middleware import cli\n"
        "def run(arguments):\n"
        "    print('first', flush=True); sys.stdin.readline(); print('second'); return 0\n"
        "cli.COMMANDS = ('frob',)\n"
        "cli.load = lambda name: SimpleNamespace(NAME=name, HELP='', configure=lambda parser: None, run=run)\n"
        "sys.exit(cli.main(['frob']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=-1, stdout=-1, stderr=-1, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(10) == 141


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"analytics-middleware {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_name_help_and_arguments(name: str) -> None:
    command = load(name)
    assert command.NAME == name  # noqa: SIM300 - the constant is what is tested
    assert command.HELP.endswith(".")
    command.configure(argparse.ArgumentParser())


def test_it_runs_as_a_module() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "analytics_middleware", "--version"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert ended.stdout == f"analytics-middleware {__version__}\n"
