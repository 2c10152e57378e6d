"""The fixtures that come with pydisque, in somebody else's tests."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

THEIR_TESTS = """
    from pydisque.client import Client

    def test_a_client(disque_client):
        job_id = disque_client.add_job("mail", "hello")
        assert disque_client.get_job(["mail"]) == [(b"mail", job_id, b"hello")]

    def test_a_node_of_its_own(disque_client):
        assert disque_client.qlen("mail") == 0
        assert disque_client.jscan(busyloop=True) == [b"0", []]

    def test_client_and_server_belong_together(disque_server, disque_client):
        disque_client.add_job("mail", "hello")
        with Client(disque_server.address) as other:
            assert other.qlen("mail") == 1

    stopped = []

    def test_before(disque_server):
        stopped.append(disque_server.address)

    def test_it_is_stopped_afterwards():
        import pytest, redis
        with pytest.raises(redis.exceptions.ConnectionError):
            Client(stopped).connect()
"""


@pytest.fixture(autouse=True)
def strict(pytester: pytest.Pytester) -> None:
    """Their tests fail for a warning, as a thread or socket left behind would be."""
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = -p no:asyncio\n")


def test_nothing_to_import_or_configure(pytester):
    """Being installed is enough: a test names a fixture and has an empty node, or its client."""
    pytester.makepyfile(THEIR_TESTS)
    pytester.runpytest_subprocess("-p", "no:xdist", "-v").assert_outcomes(passed=5)


def test_in_parallel(pytester):
    """Tests that run at the same time do not meet."""
    pytester.makepyfile(THEIR_TESTS)
    pytester.runpytest_subprocess("-n", "2", "--dist", "loadfile").assert_outcomes(passed=5)


def test_they_are_listed_with_their_meaning(pytester):
    """pytest --fixtures tells what they are."""
    listed = pytester.runpytest_subprocess("--fixtures").stdout
    listed.fnmatch_lines([
        *("disque_clock -- *", "    *clock*", "disque_server -- *", "    *node*"),
        *("disque_client -- *", "    *client*", "disque_worker -- *", "    *runs in the test*"),
    ])  # fmt: skip


def test_with_a_clock(pytester):
    """A test that asks for the clock has its node in that time, in whatever order it asks."""
    pytester.makepyfile(
        """
        import time
        import pytest

        def test_time_passes(disque_client, disque_clock):
            disque_client.add_job("q", "body", delay=60)
            disque_clock.advance(59)
            assert disque_client.get_job(["q"], nohang=True) == []
            disque_clock.advance(1)
            assert len(disque_client.get_job(["q"], nohang=True)) == 1

        def test_another_clock_in_each_test(disque_clock, disque_server):
            assert abs(disque_clock() - time.time()) < 10

        def test_without_one_time_is_real(disque_client):
            disque_client.add_job("q", "body", delay=1)
            assert disque_client.get_job(["q"], timeout=5000)

        @pytest.fixture
        def a_day_later(disque_clock):
            disque_clock.advance(86400)

        @pytest.mark.usefixtures("a_day_later")
        def test_a_fixture_may_ask(disque_client):
            job = disque_client.show(disque_client.add_job("q", "body"))
            assert job.ctime / 1e9 - time.time() > 86000
        """
    )
    pytester.runpytest_subprocess("-p", "no:xdist").assert_outcomes(passed=4)


def test_with_a_worker(pytester):
    """Handlers run in the test that asks, each test with a node of its own."""
    pytester.makepyfile(
        """
        import threading

        def test_inline(disque_worker):
            ran = []
            inline = disque_worker({"q": lambda job: ran.append(threading.current_thread())})
            inline.add_job("q", "body", delay=60)
            assert inline.run() == []
            inline.advance(60)
            assert len(inline.run()) == 1
            assert ran == [threading.main_thread()]

        def test_coroutines_leave_nothing(disque_worker, disque_client):
            async def handle(job):
                pass

            disque_client.add_job("q", "body")
            assert [end.outcome for end in disque_worker({"q": handle}).run()] == ["done"]
        """
    )
    pytester.runpytest_subprocess("-p", "no:xdist").assert_outcomes(passed=2)


def test_who_does_not_use_them_does_not_pay(pytester):
    """A test run that asks for neither loads no part of the node."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            heavy = {"uvloop", "pydisque.node", "pydisque.testing"}
            assert not heavy & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-p", "no:xdist").assert_outcomes(passed=1)
