"""The commands and options that docs/cli.md describes are those that there are."""

import argparse
import re
from pathlib import Path

import pytest

from analytics_middleware.commands import COMMANDS, load

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
SECTIONS = {name: body for name, _, body in (part.partition("\n") for part in re.split(r"(?m)^## ", TEXT)[1:])}


def words_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options and the actions of a command."""
    words: set[str] = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                words |= {name, *words_of(sub)}
        words |= {option for option in action.option_strings if option not in ("-h", "--help")}
    return words


def test_every_command_has_its_section_in_the_order_of_the_help() -> None:
    assert [name for name in SECTIONS if name in COMMANDS] == list(COMMANDS)
    assert set(SECTIONS) == {"Which application", *COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_and_no_other(name: str) -> None:
    parser = argparse.ArgumentParser()
    load(name).configure(parser)
    known = words_of(parser)
    section = SECTIONS[name]
    explained = set(re.findall(r"`(--[a-z-]+)", section))
    assert explained == {word for word in known if word.startswith("--")}
    for action in known - explained:
        assert re.search(rf"`{action}\b", section), action
    examples = set(re.findall(r"(?m)^ {4}\$ analytics-middleware ([a-z-]+)", section))
    assert examples == {name}
    assert set(re.findall(r"(?m)^ {4}\$.*?(--[a-z-]+)", section)) <= known
