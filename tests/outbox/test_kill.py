"""Workers of real servers are killed with -9 at random, under load, while the destination comes and goes.

``ANALYTICS_KILL_SECONDS=60`` has it last a minute; what came of it is printed (``-s`` shows it).
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import nullcontext
from importlib.util import find_spec

import pytest
from durability.destination import Destination, PostCollector
from durability.servers import Answer, Load, Worker, running

from analytics_middleware import Analytics

SECONDS = float(os.environ.get("ANALYTICS_KILL_SECONDS", "4"))
SAFE_AFTER = 0.25
"""Seconds after which a complete answer's event is on disk."""
SETTLED = 60.0


class Killing:
    """Kills a worker that has just answered, again and again."""

    def __init__(self, load: Load, dice: random.Random, worker: Worker | None = None) -> None:
        self.killed: dict[int, float] = {}
        """When each was about to be killed, by process id."""
        self._load = load
        self._dice = dice
        self._worker = worker

    def during(self, seconds: float, destination: Destination) -> None:
        over = threading.Event()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            over.wait(self._dice.uniform(0.3, 1.5))
            destination.become(self._dice.choice(["up", "up", "down", "failing", "torn"]))
            # Not before it has begun: on a busy machine it would never record anything.
            if self._worker is not None and self._worker.records and self._dice.random() < 0.5:
                self._worker.kill()
            recent = {answer.pid for answer in self._load.answers[-40:]} - self.killed.keys()
            if recent:
                pid = self._dice.choice(sorted(recent))
                self.killed[pid] = time.monotonic()
                os.kill(pid, signal.SIGKILL)


def safe(answers: list[Answer], killed: dict[int, float]) -> set[int]:
    """Return the numbers of answers that were complete long enough before their worker was killed."""
    never = float("inf")
    return {answer.number for answer in answers if answer.at <= killed.get(answer.pid, never) - SAFE_AFTER}


@pytest.mark.timeout(SECONDS + 2 * SETTLED + 60)
@pytest.mark.parametrize(("name", "beside"), [("gunicorn", False), ("uvicorn", False), ("uvicorn", True)])
def test_what_was_answered_250_ms_before_a_kill_is_delivered_under_one_id(name, beside, tmp_path, capsys):
    """Also where a worker records *beside* the web processes, and is killed as well."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    destination = Destination()
    worker = Worker(tmp_path, destination.url) if beside else None
    try:
        with (
            running(name, tmp_path, destination.url, workers=2, background=not beside) as server,
            worker or nullcontext(),
        ):
            deadline = time.monotonic() + SETTLED
            while worker is not None and not worker.records:
                assert time.monotonic() < deadline, "the worker records nothing"
                time.sleep(0.02)
            with Load(server.port, clients=4, pause=0.004) as load:
                killing = Killing(load, random.Random(), worker)
                killing.during(SECONDS, destination)
            destination.become("up")
            server.end()
        answers, killed = load.answers, killing.killed
        expected = safe(answers, killed)
        # The next process delivers what they left.
        successor = Analytics([PostCollector(destination.url)], data_dir=tmp_path / "data", enabled=True, store=None)
        successor.track("last", {"n": 0})
        assert successor.flush(SETTLED)
        stats = successor.stats()["collectors"]["post"]
        successor.close()
    finally:
        destination.close()

    arrived = destination.ids
    in_danger = {answer.number for answer in answers} - expected
    lost, lost_in_danger = expected - arrived.keys(), in_danger - arrived.keys()
    with capsys.disabled():
        print(
            f"\n{name}: {len(killed)} workers killed in {SECONDS:g} s; {len(answers)} answers; "
            f"lost {len(lost)} of {len(expected)} complete {SAFE_AFTER * 1000:g} ms before a kill, "
            f"{len(lost_in_danger)} of {len(in_danger)} complete later; "
            f"{sum(map(len, arrived.values()))} deliveries of {len(arrived)} events in {destination.batches} batches"
        )
        if worker is not None:
            print(f"recorded for them {destination.recorded_by['worker']} by workers killed {worker.killed} times")
    assert len(killed) > SECONDS / 4
    assert len(expected) > 5 * SECONDS
    assert lost == set()
    assert {number: ids for number, ids in arrived.items() if len(set(ids)) > 1} == {}
    assert Counter(destination.names)["last"] == 1
    assert stats["pending"] == stats["dead"] == 0
    assert stats["accepted"] == stats["delivered"] + sum(stats["dropped"].values())
    assert stats["dropped"] == {}
    assert (worker is not None) == (destination.recorded_by["worker"] > 0)
    # Recorded once, also what a worker had written when it was killed and not confirmed.
    assert stats["delivered"] == len(arrived)
