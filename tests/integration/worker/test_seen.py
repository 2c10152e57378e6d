"""A running worker can be looked at: is it well, what it has done, and in which trace."""

from __future__ import annotations

import json
import socket
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pydisque.client import Client
from pydisque.node import Server
from pydisque.worker import Worker, health
from pydisque.worker.tracing import TracingHook, traced
from support.servers import until

from . import handlers


def health_of(worker: Worker) -> tuple[int, str]:
    """The status of /health, as HTTP and as the body have it."""
    try:
        with urlopen(f"http://{worker.http_address}/health", timeout=10) as answer:
            return answer.status, json.load(answer)["status"]
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["status"]


def figures_of(worker: Worker) -> list[str]:
    with urlopen(f"http://{worker.http_address}/metrics", timeout=10) as answer:
        return answer.read().decode().splitlines()


def test_what_a_worker_did(notes):
    """A worker with http= tells that it works, and how its jobs ended; stopped, it is silent."""
    with Server() as server, Client(server.address) as client:
        worker = Worker(server.address, http=":0", executor="threads", concurrency=4)
        worker.handler("q", backoff=0)(handlers.plain)
        for body in ("x", "x", "drop", "dead it is"):
            client.add_job("q", body)
        with worker:
            until(lambda: health_of(worker) == (200, "working"))
            until(lambda: client.qlen("q:dead") == 1 and not worker.tally.in_hand)
            lines = figures_of(worker)
            host, port = worker.http_address.split(":")
        figure = worker.hooks[-1].registry.get_sample_value
        for outcome, number in (("done", 2), ("dropped", 1), ("dead", 1), ("retried", 0)):
            labels = {"queue": "q", "outcome": outcome}
            assert figure("pydisque_worker_jobs_total", labels) == number
        assert 'pydisque_worker_fetched_total{queue="q"} 4.0' in lines
        assert 'pydisque_worker_job_duration_seconds_count{queue="q"} 4.0' in lines
        assert worker.http_address is None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))
        with worker:  # and again
            until(lambda: health_of(worker) == (200, "working"))


def test_a_worker_whose_hands_are_full(notes):
    """While all its jobs run a worker is busy, and well, however long ago it fetched."""
    with Server() as server, Client(server.address) as client:
        worker = Worker(server.address, http=":0", executor="threads", concurrency=1)
        worker.handler("q")(handlers.plain)
        with worker:
            client.add_job("q", "sleep 1")
            until(lambda: health_of(worker) == (200, "busy"))


def test_a_worker_without_a_node(monkeypatch):
    """A worker that wants jobs and gets no answer is unreachable until a node answers."""
    monkeypatch.setattr(health, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    worker = Worker(f"127.0.0.1:{port}", http=":0", executor="threads")
    worker.handler("q")(print)
    with worker:
        until(lambda: health_of(worker) == (503, "unreachable"))
        with Server(port=port):
            until(lambda: health_of(worker)[0] == 200, 30)
            worker.stop()


@pytest.mark.parametrize("executor", ["threads", "asyncio", "processes"])
def test_a_trace_through_the_queue(notes, executor):
    """Whatever the executor, a job's span is a child of the span in which it was added."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    function = handlers.awaited if executor == "asyncio" else handlers.plain
    with Server() as server, Client(server.address) as client:
        worker = Worker(
            server.address, executor=executor, concurrency=2, hooks=[TracingHook(provider)]
        )
        worker.handler("q", backoff=0, max_attempts=1)(function)
        with provider.get_tracer("producer").start_as_current_span("request") as request:
            client.add_job("q", traced("x"))
            client.add_job("q", traced("fail no address"))
        with worker:
            until(lambda: len(exporter.get_finished_spans()) == 3, 30)
    own = [span for span in exporter.get_finished_spans() if span.name == "process q"]
    assert {span.parent.span_id for span in own} == {request.get_span_context().span_id}
    types = {span.attributes.get("error.type") for span in own}
    assert types == {None, "ValueError"}
