"""One client shared by threads, across a fork, and interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
import redis.exceptions

from pydisque import Client
from support.fake_node import SILENCE, FakeNode, bulk


@pytest.fixture
def node():
    with FakeNode() as node:
        yield node


def test_threads_never_mix_replies(node):
    """Sixteen threads, one client: everyone gets the replies to his own commands."""
    node.answers["ECHO"] = bulk
    wrong: list[object] = []
    with Client(node.address) as client:

        def work(name: int) -> None:
            for turn in range(100):
                text = b"%d-%d" % (name, turn)
                if (reply := client.execute_command("ECHO", text)) != text:
                    wrong.append((text, reply))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert node.count("ECHO") == 1600
    assert node.connections <= 16 * 2


def test_a_blocked_thread_blocks_nobody(node):
    """While one thread waits for a job the others use connections of their own."""
    node.answers["GETJOB"] = SILENCE
    with Client(node.address) as client:
        errors: list[Exception] = []

        def wait() -> None:
            try:
                client.get_job(["q"])
            except redis.exceptions.ConnectionError as error:
                errors.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        node.wait_for("GETJOB")
        assert client.qlen("q") == 0
        client.close()
        thread.join()
    assert "closed" in str(errors[0])


def test_close_ends_a_journey():
    """close() ends the tries of a command that has no node to go to."""
    node = FakeNode(GETJOB=SILENCE).start()
    client = Client(node.address, backoff=(30.0, 30.0))
    errors: list[Exception] = []

    def wait() -> None:
        try:
            client.get_job(["q"])
        except redis.exceptions.ConnectionError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    node.wait_for("GETJOB")
    node.stop()
    while client.connected_node is not None:
        threading.Event().wait(0.001)
    client.close()
    thread.join(20)
    assert "closed" in str(errors[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_its_own_connections(node):
    """After fork() the child never uses the parent's connection, nor does its end disturb it."""
    node.answers["ECHO"] = bulk
    with Client(node.address) as client:
        assert client.execute_command("ECHO", "before") == b"before"
        pid = os.fork()
        if pid == 0:
            fine = client.execute_command("ECHO", "child") == b"child"
            client.close()
            os._exit(0 if fine else 1)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert client.execute_command("ECHO", "after") == b"after"
    assert node.connections == 2


INTERRUPTED = """
import sys, time
from pydisque import Client
client = Client(sys.argv[1])
try:
    client.get_job(["q"])
except KeyboardInterrupt:
    assert client.ping() is True
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_blocked_get_job(node):
    """Ctrl-C ends get_job at once; the connection it waited on is not used again."""
    node.answers["GETJOB"] = SILENCE
    command = [sys.executable, "-c", INTERRUPTED, node.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        node.wait_for("GETJOB")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert out == "interrupted\n"
    assert node.connections == 2


def test_a_client_left_alone_warns_of_nothing(node):
    """A client that goes away without close(), as the old one's users do, closes quietly."""
    client = Client(node.address)
    client.ping()
    del client
