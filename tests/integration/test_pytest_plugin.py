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
    listed.fnmatch_lines(["disque_server -- *", "    *node*", "disque_client -- *", "    *client*"])


def test_who_does_not_use_them_does_not_pay(pytester):
    """A test run that asks for neither loads no part of the node."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            assert not {"uvloop", "pydisque.node"} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-p", "no:xdist").assert_outcomes(passed=1)
