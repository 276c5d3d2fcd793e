"""The Celery example under a real prefork worker, whose processes end after each task."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analytics_middleware.outbox.database import Database

pytest.importorskip("celery")

ROOT = Path(__file__).parent.parent
TASKS = 6
LIMIT = 30

# The transport is files in a directory: a broker without a server.
CONFIG = """
import os
from celery_jobs import analytics, app, nightly_report, send_invoice

box = os.environ["BOX"]
app.conf.broker_url = "filesystem://"
app.conf.broker_transport_options = {"data_folder_in": box, "data_folder_out": box, "control_folder": box + "-control"}
app.conf.worker_max_tasks_per_child = 1
"""
SEND = f"""
from jobs import analytics, nightly_report, send_invoice
with analytics.context(user_id="ann", locale="de-DE"):
    for order in range({TASKS}):
        send_invoice.delay(order)
send_invoice.delay({TASKS})
nightly_report.delay()
analytics.close()
"""


def test_every_event_of_every_process_is_in_the_log_with_the_request_that_sent_it(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(CONFIG)
    (tmp_path / "box").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "ANALYTICS"))}
    data = tmp_path / "data"
    path = os.pathsep.join([str(tmp_path), str(ROOT / "examples"), *filter(os.path.isdir, sys.path)])
    environment = {**kept, "BOX": str(tmp_path / "box"), "JOBS_DATA_DIR": str(data), "PYTHONPATH": path}
    environment["JOBS_BACKGROUND"] = "no"
    subprocess.run([sys.executable, "-c", SEND], env=environment, cwd=tmp_path, timeout=LIMIT, check=True)
    words = ["-m", "celery", "-A", "jobs", "worker", "--pool=prefork", "--concurrency=2", "--loglevel=WARNING"]
    words += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with subprocess.Popen(
        [sys.executable, *words], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as worker:
        try:
            deadline = time.monotonic() + LIMIT
            while len(found := logged(data)) < TASKS + 3 and time.monotonic() < deadline:
                assert worker.poll() is None, worker.stdout.read().decode() if worker.stdout else ""
                time.sleep(0.1)
        finally:
            worker.terminate()
            worker.wait(LIMIT)
    invoices = [event for event in found if event.get("event_name") == "invoice.sent"]
    orders = {event["properties"]["order"]: (event.get("user_id"), event.get("locale")) for event in invoices}
    # The last one was sent by nobody's request.
    assert orders == {**dict.fromkeys(range(TASKS), ("ann", "de-DE")), TASKS: (None, None)}
    assert len(invoices) == TASKS + 1
    names = {event["event_name"]: event for event in found}
    assert names["report.section"]["user_id"] == "reporting"
    assert names["report.made"]["duration"] > 0


def logged(data: Path) -> list[dict[str, object]]:
    if not (data / "analytics.sqlite3").exists():
        return []
    database = Database(data)
    with database.read() as connection:
        rows = connection.execute("SELECT payload FROM log").fetchall()
    database.close()
    return [json.loads(payload) for (payload,) in rows]
