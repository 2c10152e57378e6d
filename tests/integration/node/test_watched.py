"""What a node tells over HTTP those who look after it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import pydisque.node.observability.health
from pydisque import Client
from pydisque.node import Server
from pydisque.node.config.parameters import SettingError
from support.cli import started
from support.prometheus import complaints, fetch, values
from support.servers import ask, free_port, until
from support.valkeys import valkey

pytestmark = pytest.mark.timeout(60)


@contextmanager
def watched(**settings: object) -> Iterator[Server]:
    with Server(http=":0", **settings) as node:
        yield node


def metrics(node: Server) -> dict[str, float]:
    status, text = fetch(node.http_address, "/metrics")
    assert status == 200
    return values(text)


def health(node: Server) -> tuple[int, dict[str, str]]:
    status, text = fetch(node.http_address, "/health")
    return status, json.loads(text)


def serves(port: int) -> bool:
    try:
        return fetch(f"127.0.0.1:{port}", "/live")[0] > 0
    except OSError:
        return False


def queue_is_shown(node: Server, queue: str) -> dict[str, float]:
    """The figures, once they have a queue."""
    return until(
        lambda: (
            found if f'pydisque_queue_length{{queue="{queue}"}}' in (found := metrics(node)) else {}
        )
    )


# Figures


@pytest.mark.parametrize("kind", ["memory", "journal", "valkey"])
def test_the_figures_keep_the_conventions(kind, tmp_path):
    """Each figure is explained, named as Prometheus wants it, and there once."""
    with valkey() as server:
        settings = {"memory": {}, "journal": {"data": tmp_path}, "valkey": {"store": server.url}}
        with watched(**settings[kind]) as node:
            ask(node.address, "ADDJOB", "q", "x", 0)
            if kind != "valkey":
                queue_is_shown(node, "q")
            status, text = fetch(node.http_address, "/metrics")
    assert status == 200
    assert not complaints(text)
    assert f'store="{kind}"' in text


def test_jobs_are_counted_by_what_became_of_them():
    """Each counter tells what happened so far, and nothing else."""
    with watched() as node, Client(node.address) as client:
        ids = client.add_jobs("q", ["x"] * 10, retry=100)
        client.add_job("q", "x", delay=1000)
        got = [job.id for job in client.get_jobs(["q"], count=4)]
        client.ack_job(got[0])
        client.nack_job(got[1])
        client.enqueue(got[2])
        client.del_job(ids[9])
        told = queue_is_shown(node, "q")
        jobs = {
            name: told[f"pydisque_node_jobs_{name}_total"]
            for name in ("added", "handed_out", "acknowledged", "nacked", "requeued", "expired")
        }
        assert jobs == {
            "added": 11, "handed_out": 4, "acknowledged": 2, "nacked": 1, "requeued": 1,
            "expired": 0,
        }  # fmt: skip
        assert told["pydisque_node_jobs"] == 9
        assert told["pydisque_queued_jobs"] == told['pydisque_queue_length{queue="q"}'] == 7
        stat = client.qstat("q")
        for end in ("in", "out"):
            counted = getattr(stat, f"jobs_{end}")
            assert told[f"pydisque_jobs_{end}_total"] == counted
            assert told[f'pydisque_queue_jobs_{end}_total{{queue="q"}}'] == counted
        assert told['pydisque_node_command_duration_seconds_count{command="nack"}'] == 1


def test_what_expires_is_counted(disque_clock):
    """A job whose TTL is over before it was acknowledged counts as expired."""
    with watched(clock=disque_clock) as node:
        ask(node.address, "ADDJOB", "q", "x", 0, "TTL", 10, "RETRY", 1)
        disque_clock.advance(20)
        node.catch_up()
        assert metrics(node)["pydisque_node_jobs_expired_total"] == 1


def test_a_queue_is_told_of_in_full():
    """How old its next job is, who waits, and what is paused."""
    with watched() as node, Client(node.address) as client:
        client.add_job("q", "x")
        client.pause("q", kw_out=True)
        told = queue_is_shown(node, "q")
        assert 0 <= told['pydisque_queue_oldest_job_age_seconds{queue="q"}'] < 60
        assert told['pydisque_queue_paused{direction="out",queue="q"}'] == 1
        assert told['pydisque_queue_paused{direction="in",queue="q"}'] == 0
        client.pause("q", kw_none=True)
        client.get_job(["q"])
        waiting = threading.Thread(target=lambda: client.get_job(["q"], timeout=10_000))
        waiting.start()
        until(lambda: metrics(node)['pydisque_queue_blocked_clients{queue="q"}'] == 1)
        told = metrics(node)
        assert told["pydisque_node_blocked_clients"] == 1
        assert 'pydisque_queue_oldest_job_age_seconds{queue="q"}' not in told
        ask(node.address, "ADDJOB", "q", "x", 0)
        waiting.join()


def test_few_of_many_queues_are_told_of():
    """However many queues there are: the longest are shown one by one, all of them counted."""
    with watched(metrics_queues=5) as node, Client(node.address) as client:
        for i in range(10):
            client.add_jobs(f"long-{i}", ["x"] * (100 * (i + 1)))
        with client.pipeline() as pipeline:
            for i in range(20_000):
                pipeline.add_job(f"short-{i}", "x")
            pipeline.execute()

        def shown() -> list[str]:
            names = metrics(node)
            return sorted(n for n in names if n.startswith("pydisque_queue_length"))

        def settled() -> bool:
            return set(shown()) >= {f'pydisque_queue_length{{queue="long-{i}"}}' for i in (8, 9)}

        until(settled)
        assert len(shown()) == 5
        assert metrics(node)["pydisque_queues"] == 20_010


def test_a_name_of_a_queue_commands_nobody():
    """Quotes, newlines and bytes that are no text stand in a label, and end nothing."""
    with watched() as node:
        name = b'"} 1\npydisque_evil 1\xff'
        ask(node.address, "ADDJOB", name, "x", 0)
        found = until(
            lambda: [
                line
                for line in fetch(node.http_address, "/metrics")[1].splitlines()
                if line.startswith("pydisque_queue_length")
            ]
        )
        assert found == [r'pydisque_queue_length{queue="\"} 1\npydisque_evil 1\\xff"} 1.0']
        assert "pydisque_evil" not in metrics(node)


def test_the_journal_is_told_of(tmp_path):
    """A node with a data directory tells of its commits and of its files."""
    with watched(data=tmp_path) as node:
        ask(node.address, "ADDJOB", "q", "x", 0)
        told = metrics(node)
        assert told["pydisque_node_journal_commit_duration_seconds_count"] >= 1
        assert told["pydisque_node_journal_commit_duration_seconds_sum"] > 0
        assert told["pydisque_node_journal_size_bytes"] > 0
        assert told["pydisque_node_journal_failures_total"] == 0


def test_valkey_is_told_of():
    """A node on Valkey tells of its shards and round trips, and of no jobs, which are not its."""
    with valkey() as server, watched(store=server.url) as node:
        ask(node.address, "ADDJOB", "q", "x", 0)
        told = until(
            lambda: (
                found
                if (found := metrics(node))["pydisque_node_valkey_round_trip_seconds_count"]
                else {}
            )
        )
        assert told["pydisque_node_valkey_round_trip_seconds_sum"] > 0
        assert told["pydisque_node_valkey_shards_missing"] == 0
        assert not [n for n in told if n.startswith(("pydisque_queue", "pydisque_jobs"))]
        assert "pydisque_node_jobs" not in told


# Health


def test_a_node_that_is_well():
    """It says so, under /health as under /live."""
    with watched() as node:
        assert health(node) == (200, {"status": "working"})
        assert fetch(node.http_address, "/live") == (200, '{"status": "live"}\n')
        status, text = fetch(node.http_address, "/")
        assert (status, text) == (404, "there are /health and /live and /metrics\n")
    assert node.http_address is None


def test_a_node_that_leaves():
    """It wants no more clients, and is alive; once it stays it is well again."""
    with watched() as node:
        ask(node.address, "CLUSTER", "LEAVING", "yes")
        assert health(node) == (503, {"status": "failing", "reason": "it is leaving"})
        assert fetch(node.http_address, "/live")[0] == 200
        assert metrics(node)["pydisque_node_healthy"] == 0
        ask(node.address, "CLUSTER", "LEAVING", "no")
        assert health(node)[0] == 200


def test_a_node_that_cannot_keep_anything(tmp_path, monkeypatch):
    """With a journal that cannot be written it is not well, says why, and is alive."""
    with watched(data=tmp_path) as node:
        store = node.node.store
        monkeypatch.setattr(store, "every_second", lambda: None)  # or it would try again
        store._failure = "database or disk is full"
        status, told = health(node)
        assert (status, told["reason"]) == (503, "nothing can be kept: database or disk is full")
        assert fetch(node.http_address, "/live")[0] == 200
        monkeypatch.undo()
        until(lambda: health(node)[0] == 200)


def test_a_node_whose_valkey_is_gone():
    """It is not well until Valkey is back, and alive all the time."""
    with valkey() as server, watched(store=server.url, store_timeout=1) as node:
        assert health(node)[0] == 200
        server.kill()
        until(lambda: health(node)[0] == 503)
        assert health(node)[1]["reason"] == "1 of 1 shards cannot be reached in Valkey"
        assert fetch(node.http_address, "/live")[0] == 200
        assert metrics(node)["pydisque_node_valkey_shards_missing"] == 1
        server.start()
        until(lambda: health(node)[0] == 200, 30)


def test_a_node_that_hangs(monkeypatch):
    """When its loop does nothing it is neither well nor alive, and a scrape does not wait."""
    monkeypatch.setattr(pydisque.node.observability.health, "PATIENCE", 0.05)
    with watched() as node:
        held, go_on = threading.Event(), threading.Event()
        node._loop.call_soon_threadsafe(lambda: (held.set(), go_on.wait()))
        held.wait()
        try:
            reason = "it does nothing for 0.05 seconds"
            assert health(node) == (503, {"status": "stuck", "reason": reason})
            assert fetch(node.http_address, "/live")[0] == 503
            assert fetch(node.http_address, "/metrics") == (503, f"{reason}\n")
        finally:
            go_on.set()
        monkeypatch.setattr(pydisque.node.observability.health, "PATIENCE", 10)
        assert health(node)[0] == 200


def test_a_node_that_waits_for_its_valkey():
    """Before its jobs are there a node is alive, and not well."""
    port, http = free_port(), free_port()
    options = ["--store", f"valkey://127.0.0.1:{port}", "--http", f":{http}"]
    with started([], "serve", "--port", "0", *options, stdout=None, stderr=None):
        until(lambda: serves(http), 30)
        status, text = fetch(f"127.0.0.1:{http}", "/health")
        assert (status, json.loads(text)["status"]) == (503, "starting")
        assert fetch(f"127.0.0.1:{http}", "/live")[0] == 200
        assert fetch(f"127.0.0.1:{http}", "/metrics")[0] == 503


# Setting it up


def test_there_is_none_unless_wanted(node):
    """A node that is not told to serves no HTTP."""
    assert node.http_address is None


def test_where_nobody_can_listen():
    """What is no address is refused, with what is allowed."""
    with pytest.raises(SettingError, match="http: '9100' is not allowed; allowed is 'host:port'"):
        Server(http="9100")


def test_a_taken_port_is_told_at_the_start(tmp_path):
    """A node whose HTTP port is in use does not start, and says which; it lets go of all else."""
    with watched() as other:
        with (
            pytest.raises(OSError, match=f"cannot serve /health on {other.http_address}: Address"),
            Server(http=other.http_address, data=tmp_path),
        ):
            pass
        with Server(data=tmp_path) as node:
            assert ask(node.address, "PING") == b"PONG"


def test_a_node_that_cannot_start_closes_its_door(tmp_path):
    """When the data directory is in use, the port of its figures is free again."""
    port = free_port()
    with Server(data=tmp_path):
        with pytest.raises(OSError, match="in use"), Server(http=f":{port}", data=tmp_path):
            pass
        with Server(http=f":{port}") as node:
            assert health(node)[0] == 200


def test_without_prometheus_client(monkeypatch, caplog):
    """A node without the library says what to install, at its start and to who asks; it is well."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with watched() as node:
        text = "the figures need prometheus_client: pip install 'pydisque[metrics]>=1.0'"
        assert fetch(node.http_address, "/metrics") == (501, f"{text}\n")
        assert text in caplog.text
        assert health(node)[0] == 200
