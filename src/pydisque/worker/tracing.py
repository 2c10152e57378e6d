"""A span for each job, in the trace of whoever added it; needs the extra ``otel``.

Producers send their trace along with `traced`. Spans follow OpenTelemetry's conventions for
messaging; a body is never in them.
"""

from __future__ import annotations

from contextvars import Token
from typing import NamedTuple

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider

from pydisque import __version__
from pydisque.tracing import traced
from pydisque.watching import readable
from pydisque.worker.handler import Dead, Drop, Retry
from pydisque.worker.hooks import Hook
from pydisque.worker.job import WorkerJob
from pydisque.worker.verdict import RemoteError, kind_of, text_of

__all__ = ["TracingHook", "traced"]


class TracingHook(Hook):
    """Makes a span ``process QUEUE`` for each job; it is the current one while the handler runs.

    With ``executor="processes"`` the span is the worker's, and handlers have none.

    An error sets the span's status. `Retry`, `Drop` and `Dead` do not: they are what the handler
    meant to do, and stand in ``messaging.disque.outcome``.
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

    def before(self, job: WorkerJob) -> None:
        """Begin the span; what was current in this thread has nothing to do with the job."""
        texts = {key: text for key, text in job.headers.items() if isinstance(text, str)}
        theirs = propagate.extract(texts, Context())
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
        if isinstance(error, (Retry, Drop, Dead)):
            if isinstance(error, Retry) and error.in_seconds is not None:
                current.span.set_attribute("messaging.disque.retry_in_seconds", error.in_seconds)
            self._end(job, type(error).__name__.lower())
            return
        _record(current.span, error)
        self._end(job, "error")

    def _end(self, job: WorkerJob, outcome: str) -> None:
        span, token = self._current.pop(job)
        span.set_attribute("messaging.disque.outcome", outcome)
        if job.lease_lost:
            span.set_attribute("messaging.disque.lease_lost", True)
        span.end()
        context.detach(token)


class _Current(NamedTuple):
    span: Span
    token: Token[Context]


def _record(span: Span, error: BaseException) -> None:
    """Note an error, as one of another process by what is known of it."""
    text = text_of(error)
    if isinstance(error, RemoteError):
        span.record_exception(
            error,
            {
                "exception.type": kind_of(error),
                "exception.message": text.partition(": ")[2],
                "exception.stacktrace": error.trace,
            },
        )
    else:
        span.record_exception(error)
    span.set_attribute("error.type", kind_of(error))
    span.set_status(Status(StatusCode.ERROR, text))
