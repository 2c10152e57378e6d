"""Traces go from the producer through the queue into the handler."""

from __future__ import annotations

import asyncio
import json

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from pydisque.protocol.envelope import unwrap
from pydisque.worker import Dead, Drop, Hook, Retry, Worker
from pydisque.worker.handlers.hooks import Course
from pydisque.worker.handlers.policy import RemoteError
from pydisque.worker.tracing import TracingHook, traced

from .jobs import a_handler, a_job

PROVIDER = TracerProvider()
EXPORTER = InMemorySpanExporter()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))


@pytest.fixture(autouse=True)
def nothing_is_left():
    """After each test no context is attached any more."""
    EXPORTER.clear()
    before = context.get_current()
    yield
    assert context.get_current() == before


def the_span():
    """The one span that has ended."""
    (span,) = EXPORTER.get_finished_spans()
    return span


def run(function, body: bytes = b"body", *hooks: Hook, **options):
    """Run a job with the hook, and others after it."""
    job = a_job(body, nacks=1)
    tracing = TracingHook(PROVIDER, **options)
    Course({b"q": a_handler(function=function)}, [tracing, *hooks]).run(job)
    return job


def sent(body: bytes | str = b"body"):
    """A body as a producer sends it within a span, and that span's context."""
    tracer = PROVIDER.get_tracer("the producer")
    with tracer.start_as_current_span("request") as span:
        message = traced(body)
    EXPORTER.clear()
    return message, span.get_span_context()


def test_a_span_tells_what_ran():
    """A job without a trace is a trace of its own, with the attributes of the conventions."""
    job = run(repr)
    span = the_span()
    assert (span.name, span.kind, span.parent) == ("process q", SpanKind.CONSUMER, None)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "messaging.system": "disque",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "q",
        "messaging.message.id": job.id,
        "messaging.message.body.size": 4,
        "messaging.disque.attempt": 2,
        "messaging.disque.outcome": "done",
    }


def test_the_trace_goes_on():
    """The span is a child of the span in which the job was added; the handler sees its own body."""
    message, producer = sent('{"to": "ada"}')
    seen = []
    run(lambda job: seen.append((job.json(), trace.get_current_span())), message)
    body, current = seen[0]
    span = the_span()
    assert body == {"to": "ada"}
    assert span.context == current.get_span_context()
    assert span.parent.span_id == producer.span_id
    assert span.context.trace_id == producer.trace_id


def test_a_trace_of_its_own_with_a_link():
    """new_traces begins a trace for each job and links it to the producer's."""
    message, producer = sent()
    run(repr, message, new_traces=True)
    span = the_span()
    assert span.parent is None
    assert span.context.trace_id != producer.trace_id
    assert [link.context.span_id for link in span.links] == [producer.span_id]


def test_a_body_without_a_trace_stays_as_it_is():
    """Outside of any trace nothing is added to a body."""
    assert traced("body") == b"body"


def test_baggage_comes_along():
    """What else the propagator writes reaches the handler, and does not stay with its thread."""
    token = context.attach(baggage.set_baggage("tenant", "7"))
    message = traced(b"body")
    context.detach(token)
    seen = []
    run(lambda job: seen.append(baggage.get_baggage("tenant")), message)
    assert seen == ["7"]
    assert unwrap(message) == (b"body", {"baggage": "tenant=7"})


@pytest.mark.parametrize("header", [5, None, ["x"], "nonsense", "00-zz-zz-01"])
def test_headers_that_make_no_sense(header):
    """A traceparent that is none is no trace, and no error."""
    body = b"\x00pydisque1 " + json.dumps({"traceparent": header}).encode() + b"\nbody"
    run(repr, body)
    assert the_span().parent is None


def test_an_error_is_recorded():
    """What a handler raises is the span's status and an event with its traceback."""

    def fail(job):
        raise ValueError("no address")

    run(fail)
    span = the_span()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError: no address"
    assert span.attributes["error.type"] == "ValueError"
    assert span.attributes["messaging.disque.outcome"] == "error"
    assert "no address" in span.events[0].attributes["exception.stacktrace"]


def test_an_error_of_another_process_is_recorded():
    """Of an error in another process its own class and traceback are told."""

    def fail(job):
        raise RemoteError("app.NoAddress: for ada", "their traceback")

    run(fail)
    span = the_span()
    assert span.attributes["error.type"] == "app.NoAddress"
    told = span.events[0].attributes
    assert told["exception.type"] == "app.NoAddress"
    assert told["exception.message"] == "for ada"
    assert told["exception.stacktrace"] == "their traceback"


@pytest.mark.parametrize(("asked", "outcome"), [(Retry(5), "retry"), (Drop(), "drop")])
def test_what_a_handler_asks_for_is_no_error(asked, outcome):
    """Retry and Drop are told as the outcome, and leave the status alone."""

    def ask(job):
        raise asked

    run(ask)
    span = the_span()
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["messaging.disque.outcome"] == outcome
    assert span.attributes.get("messaging.disque.retry_in_seconds") == getattr(
        asked, "in_seconds", None
    )


@pytest.mark.parametrize(
    ("error", "attempts", "outcome", "is_error"),
    [
        (Dead("no customer"), 9, "dead", True),
        (Retry(5), 9, "retry", False),
        (Retry(5), 2, "retry", True),
        (Drop(), 1, "drop", False),
        (TimeoutError(), 9, "error", True),
        (asyncio.CancelledError(), 9, "error", True),
        (SystemExit(0), 9, "error", True),
        (ExceptionGroup("both", [Dead()]), 9, "error", True),
    ],
)
def test_the_status_tells_what_failed_for_good(error, attempts, outcome, is_error):
    """A span has error status if its handler failed, or its job becomes a dead letter."""

    def fail(job):
        raise error

    worker = Worker(hooks=[hook := TracingHook(PROVIDER)])
    worker.handler("q", max_attempts=attempts)(fail)
    hook.start(worker)
    worker.course().run(a_job(nacks=1))
    span = the_span()
    assert (span.status.status_code is StatusCode.ERROR) is is_error
    assert span.attributes["messaging.disque.outcome"] == outcome
    assert ("error.type" in span.attributes) is is_error
    assert len(span.events) == is_error


def test_an_error_that_cannot_be_told():
    """A span ends, and its context is left, also for an error whose text raises or is huge."""

    class UnreadableError(Exception):
        def __str__(self):
            raise SystemExit

    for error in (UnreadableError(), ValueError("x" * 10_000_000)):

        def fail(job, error=error):
            raise error

        EXPORTER.clear()
        run(fail)
        told = the_span().events[0].attributes
        assert len(told["exception.message"]) < 5000
        assert len(told["exception.stacktrace"]) < 20_000


def test_a_propagator_that_fails(monkeypatch):
    """Headers that make a propagator raise are no trace, and fail no job."""

    def extract(*args):
        raise RuntimeError("no such header")

    monkeypatch.setattr("pydisque.worker.tracing.propagate.extract", extract)
    run(repr, b'\x00pydisque1 {"traceparent":"x"}\nbody')
    assert the_span().attributes["messaging.disque.outcome"] == "done"


class Refuse(Hook):
    """Lets no job run, and fails at its end too."""

    def before(self, job):
        raise PermissionError

    def error(self, job, error, seconds):
        raise RuntimeError("and again")


def test_other_hooks_may_fail(caplog):
    """Whether hooks before or after it fail, what the hook began it ends."""
    run(repr, b"body", Refuse())
    assert the_span().attributes["error.type"] == "PermissionError"
    EXPORTER.clear()
    hook = TracingHook(PROVIDER)
    Course({b"q": a_handler(function=repr)}, [Refuse(), hook]).run(a_job())
    assert EXPORTER.get_finished_spans() == ()
    assert "a hook failed" in caplog.text


async def test_tasks_do_not_mix():
    """In tasks of one loop each handler sees the span of its own job, whatever the order."""
    hook = TracingHook(PROVIDER)
    course = Course({b"q": a_handler()}, [hook])
    both = asyncio.Barrier(2)
    seen = {}

    async def call(handler, job):
        seen[job.id] = [trace.get_current_span().get_span_context().span_id]
        await both.wait()
        seen[job.id].append(trace.get_current_span().get_span_context().span_id)

    messages = [sent() for _ in range(2)]
    jobs = [a_job(message) for message, _ in messages]
    await asyncio.gather(*(asyncio.create_task(course.run_async(job, call)) for job in jobs))
    spans = {s.attributes["messaging.message.id"]: s for s in EXPORTER.get_finished_spans()}
    for job, (_, producer) in zip(jobs, messages, strict=True):
        assert seen[job.id] == [spans[job.id].context.span_id] * 2
        assert spans[job.id].parent.span_id == producer.span_id
