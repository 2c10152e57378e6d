"""What a worker's door tells who looks after it: is it well, and its figures.

It reports the last fetch that a node answered, and not merely that the process is there: a worker
that wants jobs and gets no answer is not well, nor is one whose executor or own loop has ended.
What it tells is found in the worker's tally; it asks no node.
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any

from pydisque.service.http_server import Door, Response, no_metrics
from pydisque.service.top_queues import readable
from pydisque.worker.handlers.stats import Tally

if TYPE_CHECKING:
    from pydisque.worker.handlers.hooks import WorkerView
    from pydisque.worker.metrics import PrometheusHook

logger = logging.getLogger("pydisque.worker")

# Seconds that a node may leave fetches without an answer; one waits for 4 s if there is no job.
PATIENCE = 15.0


def status_of(tally: Tally, now: float, *, stopping: bool) -> str:
    """How a worker is: starting, working, busy (its hands are full) or stopping, which is well.

    Else failed, stalled or unreachable.
    """
    if tally.failure is not None:
        return "failed"
    if tally.last_beat is not None and now - tally.last_beat > PATIENCE:
        return "stalled"
    if stopping:
        return "stopping"
    wanting = tally.wanting_since
    if wanting is not None and now - max(wanting, tally.last_fetch or wanting) > PATIENCE:
        return "unreachable"
    if tally.last_fetch is None:
        return "starting"
    return "busy" if wanting is None else "working"


_ILL = {
    "failed": "{failure}",
    "stalled": "the worker's own loop has not run for {patience:g} s",
    "unreachable": "no node has answered a fetch for {patience:g} s",
}
"""Why a worker is not well, by its status."""


def report(worker: WorkerView, now: float) -> tuple[HTTPStatus, dict[str, Any]]:
    """What ``/health`` answers."""
    tally = worker.tally
    status = status_of(tally, now, stopping=worker.stopping)
    ill = _ILL.get(status)
    reason = ill and {"reason": ill.format(failure=tally.failure, patience=PATIENCE)}
    ago = None if tally.last_fetch is None else round(now - tally.last_fetch, 3)
    return HTTPStatus.SERVICE_UNAVAILABLE if ill else HTTPStatus.OK, {
        "status": status,
        **(reason or {}),
        "last_fetch_seconds_ago": ago,
        "in_hand": tally.in_hand,
        "concurrency": worker.concurrency,
        "queues": {
            readable(queue): {"fetched": tally.fetched[queue], **tally.outcomes(queue)}
            for queue in worker.course().handlers
        },
    }


def prometheus_hook(worker: WorkerView) -> PrometheusHook | None:
    """The worker's hook for figures, added if it has none; None without prometheus_client."""
    try:
        from pydisque.worker.metrics import PrometheusHook  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        return None
    for hook in worker.hooks:
        if isinstance(hook, PrometheusHook):
            return hook
    hook = PrometheusHook()
    worker.hooks.append(hook)
    return hook


def door_of(worker: WorkerView, listen: str) -> Door:
    """The door of a worker, which gets its figures if it has none.

    Raises:
        ValueError: The address is not understood.
    """
    hook = prometheus_hook(worker)

    def health(_: str) -> Response:
        status, told = report(worker, monotonic())
        return Response(status, "application/json", json.dumps(told).encode() + b"\n")

    def metrics(accept: str) -> Response:
        if hook is None:
            return no_metrics(accept)
        text, content_type = hook.exposition(accept)
        return Response(HTTPStatus.OK, content_type, text)

    try:
        return Door(listen, {"/health": health, "/metrics": metrics}, logger)
    except ValueError as error:
        raise ValueError(f"http must be {error}, not {listen!r}") from None
