"""What ``flask jobs list`` shows, also of jobs that somebody else wrote."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import rq
from redis import ResponseError
from rq.exceptions import NoSuchJobError


def find_facts(queue: rq.Queue, state: str, limit: int) -> Iterator[dict[str, Any]]:
    """Yield what is shown of each job; of one that is malformed, its id."""
    registry: Any = None if state == "queued" else getattr(queue, f"{state}_job_registry")
    ids = queue.get_job_ids(0, limit) if registry is None else registry.get_job_ids(0, limit - 1, cleanup=False)
    for job_id in ids:
        facts = {"id": job_id, "state": state, "time": None, "tries_left": None, "name": "(malformed)", "error": ""}
        with malformed_is_skipped():
            job = rq.job.Job.fetch(job_id, queue.connection, queue.serializer)
            time = {"queued": job.enqueued_at, "started": job.started_at}.get(state, job.ended_at)
            if state == "scheduled":
                time = registry.get_scheduled_time(job_id)
            facts |= {"time": time and f"{time:%Y-%m-%d %H:%M:%S}", "tries_left": job.retries_left}
            facts["name"] = job.description
            if state == "failed":
                facts["error"] = "(malformed)"  # unless it can be read
                result = job.latest_result()
                facts["error"] = ((result and result.exc_string) or "").strip().rpartition("\n")[2]
        yield facts


@contextmanager
def malformed_is_skipped() -> Iterator[None]:
    """Go on after the block, if what it reads is malformed, or of another type."""
    try:
        with suppress(NoSuchJobError, AssertionError, KeyError, ValueError, zlib.error):
            yield
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
