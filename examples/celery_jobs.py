"""Analytics in Celery tasks, also under prefork: no event is lost when a worker process ends.

    celery --workdir examples -A celery_jobs worker

Three things make it work:

- One `Analytics` with a data directory, created at import. It starts no thread before a process records its first
  event, so it works under prefork. All worker processes write to the same log.
- Celery ends its processes without running Python's exit handlers. So `worker_process_shutdown` writes waiting events.
- The task's headers describe the request that sent the task, so that the task's events have its user and page.
"""

import os
from typing import Any

from celery import Celery, signals

from analytics_middleware import Analytics, track
from analytics_middleware.collectors import StdoutCollector
from analytics_middleware.handover import headers as request_headers
from analytics_middleware.handover import restored

app = Celery("shop", broker=os.environ.get("CELERY_BROKER", "memory://"))
app.conf.task_ignore_result = True

analytics = Analytics(
    [StdoutCollector(pretty=True)],
    data_dir=os.environ.get("JOBS_DATA_DIR", "analytics-data"),
    # Set JOBS_BACKGROUND=no if `analytics-middleware worker` runs: it delivers, and Celery's workers only record.
    background=os.environ.get("JOBS_BACKGROUND", "yes") == "yes",
)


@signals.before_task_publish.connect
def send_the_request_along(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers.update(request_headers())


@signals.worker_process_shutdown.connect
def write_what_is_left(**_: Any) -> None:
    analytics.close()


class Tracked(app.Task):  # type: ignore[misc, name-defined]
    """A task whose `track` calls know the request that sent it, if any did (not beat, not a shell)."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with restored(analytics, self.request.headers or vars(self.request)):
            return super().__call__(*args, **kwargs)


@app.task(base=Tracked)
def send_invoice(order: int) -> None:
    track("invoice.sent", {"order": order})


@app.task
def nightly_report() -> None:
    # No request sent this task: the block gives it a context, and is recorded as an event with a duration.
    with analytics.context("report.made", user_id="reporting"):
        track("report.section", {"name": "orders"})
