"""A span for each job, in the trace of whoever added it; needs the extra ``otel``.

Producers send their trace along with `traced`. Spans follow OpenTelemetry's conventions for
messaging; a body is never in them.
"""

from __future__ import annotations

import logging
from contextvars import Token
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider

from pydisque._version import __version__
from pydisque.service.top_queues import readable
from pydisque.tracing import traced
from pydisque.worker.handlers.handler import Dead, Drop, Handler, Retry
from pydisque.worker.handlers.hooks import Hook, judged
from pydisque.worker.handlers.job import WorkerJob, named
from pydisque.worker.handlers.policy import Bury, RemoteError, kind_of, said_by, text_of, trace_of

if TYPE_CHECKING:
    from pydisque.worker.handlers.hooks import WorkerView

logger = logging.getLogger("pydisque.worker")

__all__ = ["TracingHook", "traced"]


class TracingHook(Hook):
    """Makes a span ``process QUEUE`` for each job; it is the current one while the handler runs.

    With ``executor="processes"`` the span is the worker's, and handlers have none.

    An error sets the span's status, and so does a job that becomes a dead letter, by `Dead` or by
    its last `Retry`. Another `Retry`, and `Drop`, do not: they are what the handler meant to do.
    What it asked for stands in ``messaging.disque.outcome``.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, *, new_traces: bool = False
    ) -> None:
        """Make a hook for any number of workers.

        Args:
            tracer_provider: What makes the spans; default: the global one.
            new_traces: Begin a trace for each job, with a link to the producer's, where otherwise
                the job is a part of that: for jobs that run long after they were added.
        """
        self._tracer = trace.get_tracer("pydisque", __version__, tracer_provider)
        self._new_traces = new_traces
        self._current: dict[WorkerJob, _Current] = {}
        self._handlers: dict[bytes, Handler] = {}

    def start(self, worker: WorkerView) -> None:
        """Note what its handlers allow."""
        self._handlers.update(worker.course().handlers)

    def before(self, job: WorkerJob) -> None:
        """Begin the span; what was current in this thread has nothing to do with the job."""
        theirs = _context_of(job)
        producer = trace.get_current_span(theirs).get_span_context()
        apart = self._new_traces and producer.is_valid
        base = trace.set_span_in_context(trace.INVALID_SPAN, theirs) if apart else theirs
        span = self._tracer.start_span(
            f"process {readable(job.name)}",
            base,
            SpanKind.CONSUMER,
            attributes={
                "messaging.system": "disque",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": readable(job.name),
                "messaging.message.id": job.id,
                "messaging.message.body.size": len(job.body),
                "messaging.disque.attempt": job.attempt,
            },
            links=[Link(producer)] if apart else None,
        )
        self._current[job] = _Current(span, context.attach(trace.set_span_in_context(span, base)))

    def after(self, job: WorkerJob, seconds: float) -> None:  # noqa: ARG002
        """End the span of a job that is done."""
        self._end(job, "done")

    def error(self, job: WorkerJob, error: BaseException, seconds: float) -> None:  # noqa: ARG002
        """End the span of a job that raised something."""
        current = self._current.get(job)
        if current is None:  # a hook before this one has refused the job
            return
        if isinstance(error, Retry) and error.in_seconds is not None:
            current.span.set_attribute("messaging.disque.retry_in_seconds", error.in_seconds)
        asked = next((kind for kind in (Retry, Drop, Dead) if isinstance(error, kind)), None)
        if asked is None or self._is_dead(job, error):
            _record(current.span, error)
        self._end(job, "error" if asked is None else asked.__name__.lower())

    def _is_dead(self, job: WorkerJob, error: BaseException) -> bool:
        """Whether the job becomes a dead letter for what its handler asked."""
        handler = self._handlers.get(job.name)
        if handler is None:
            return isinstance(error, Dead)
        return isinstance(judged(handler, job, error, 0.0), Bury)

    def _end(self, job: WorkerJob, outcome: str) -> None:
        span, token = self._current.pop(job)
        span.set_attribute("messaging.disque.outcome", outcome)
        if job.lease_lost:
            span.set_attribute("messaging.disque.lease_lost", True)
        span.end()
        context.detach(token)


def _context_of(job: WorkerJob) -> Context:
    """The producer's context; an empty one if its headers, which anybody may write, have none."""
    texts = {key: text for key, text in job.headers.items() if isinstance(text, str)}
    try:
        return propagate.extract(texts, Context())
    except Exception as error:  # noqa: BLE001 - propagators are the app's choice
        logger.debug("%s: its trace cannot be read: %s", named(job), text_of(error))
        return Context()


class _Current(NamedTuple):
    span: Span
    token: Token[Context]


def _record(span: Span, error: BaseException) -> None:
    """Note an error, as one of another process by what is known of it."""
    text = text_of(error)
    remote = isinstance(error, RemoteError)
    span.add_event(  # its record_exception reads the text, whatever that raises and how long it is
        "exception",
        {
            "exception.type": kind_of(error),
            "exception.message": text.partition(": ")[2] if remote else said_by(error),
            "exception.stacktrace": trace_of(error),
        },
    )
    span.set_attribute("error.type", kind_of(error))
    span.set_status(Status(StatusCode.ERROR, text))
