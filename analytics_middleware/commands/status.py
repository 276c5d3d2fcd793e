"""``status``: shows the state of each collector and the host's counters."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from analytics_middleware.commands import target
from analytics_middleware.commands.text import amount, positive, reasons, span
from analytics_middleware.counters import NOTES, REASONS
from analytics_middleware.outbox.base import STORE
from analytics_middleware.plain_text import safe, table

NAME = "status"
HELP = "Show for each collector what is delivered, pending, dropped and dead, and what is wrong."

_TITLES = ("collector", "delivered", "pending", "lag", "dead", "dropped", "state")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, for monitoring")
    parser.add_argument(
        "--watch",
        type=positive,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="show it again and again until Ctrl-C; default: every 2 seconds",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the status once, or again and again until interrupted."""
    found = target.find(arguments)
    while True:
        state = _state(found)
        shown = json.dumps(state) if arguments.json else _readable(state)
        if arguments.watch is None:
            print(shown)
            return 0
        if sys.stdout.isatty() and not arguments.json:
            # Back to the top of the screen, so that numbers change in place.
            print("\033[H\033[J", end="")
        print(shown, flush=True)
        time.sleep(arguments.watch)


def _state(found: target.Target) -> dict[str, Any]:
    stats = found.durable.stats()
    now = time.time()
    configured = None
    if found.analytics is not None:
        configured = [collector.name for collector in found.analytics.collectors]
    consumers = {
        name: {
            **each._asdict(),
            "lag": None if each.oldest_pending is None else max(0.0, now - each.oldest_pending),
            "configured": None if configured is None or name == STORE else name in configured,
        }
        for name, each in stats.consumers.items()
    }
    return {
        "data_dir": str(found.durable.database.directory),
        **{note: stats.counts.get(note, 0) for note in NOTES},
        "dropped": {reason: lost for reason in REASONS if (lost := stats.counts.get(f"dropped.{reason}", 0))},
        "collectors": consumers,
        "not_started": [] if configured is None else [name for name in configured if name not in consumers],
    }


def _readable(state: dict[str, Any]) -> str:
    notes = [f"{state[note]} {note}" for note in NOTES if note != "accepted" and state[note]]
    lines = [f"{amount(state['accepted'], 'event')} accepted in {state['data_dir']}"]
    if state["dropped"]:
        lines.append(f"dropped before any collector: {reasons(state['dropped'])}")
    if notes:
        lines.append(f"noted: {', '.join(notes)}")
    rows: list[Sequence[str]] = [_TITLES]
    for name, each in state["collectors"].items():
        rows.append(
            (
                name,
                str(each["delivered"]),
                str(each["pending"]),
                "-" if each["lag"] is None else span(each["lag"]),
                str(each["dead"]),
                reasons(each["dropped"]),
                each["breaker"] if each["configured"] is not False else "not configured any more",
            )
        )
    if len(rows) > 1:
        lines += ["", table(rows)]
    else:
        lines += ["", "No collector has been started yet."]
    for name in state["not_started"]:
        lines.append(f"{name}: not started yet")
    for name, each in state["collectors"].items():
        if each["last_error"] and each["breaker"] != "closed":
            lines += ["", f"{name} can't be delivered to: {safe(each['last_error'])}"]
        elif each["last_error"]:
            lines += ["", f"{name} last failed with: {safe(each['last_error'])}"]
    return "\n".join(lines)
