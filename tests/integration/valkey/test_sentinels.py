"""Sentinels: which of them is believed, and how nodes log in there."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from pydisque.node import Server
from pydisque.node.store.valkey.connection import LineLostError
from support.resp_peer import info
from support.valkeys import BINARY, ValkeyProcess, valkey


class Sentinel(ValkeyProcess):
    """A Sentinel that says what its configuration says: it knows no others."""

    def __init__(self, folder: str, primary: ValkeyProcess, failovers: int, *lines: str) -> None:
        """Start it, over a primary, after so many failovers."""
        self._lines = [
            f"sentinel monitor mymaster 127.0.0.1 {primary.port} 1",
            f"sentinel config-epoch mymaster {failovers}",
            *lines,
        ]
        super().__init__(folder)

    def _command(self) -> list[str]:
        conf = Path(self._folder, "sentinel.conf")
        conf.write_text("\n".join([f"port {self.port}", "bind 127.0.0.1", *self._lines, ""]))
        return [BINARY, str(conf), "--sentinel", "--dir", self._folder]


@pytest.fixture
def sentinel(stack: ExitStack) -> Callable[..., Sentinel]:
    def start(*args: object) -> Sentinel:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        return stack.enter_context(Sentinel(folder, *args))

    return start


@pytest.mark.parametrize("stale_first", [True, False])
def test_who_has_heard_of_most_failovers_is_believed(sentinel, stack, nodes, connect, stale_first):
    """A Sentinel that was cut off and still believes in the old primary misleads nobody."""
    old, new = stack.enter_context(valkey()), stack.enter_context(valkey())
    stale, fresh = sentinel(old, 3), sentinel(new, 4)
    order = (stale, fresh) if stale_first else (fresh, stale)
    [node] = nodes(f"valkey://{order[0].address},{order[1].address}")
    peer = connect(node)
    assert info(peer)["valkey_mode"] == "sentinel"
    peer.ask("ADDJOB", "q", "x", 0)
    assert (old.ask("DBSIZE"), new.ask("DBSIZE") > 0) == (0, True)


def test_a_sentinel_that_says_nothing_holds_nobody_up(sentinel, shared, nodes, connect):
    """Those that answer are believed, if only one does."""
    silent, other = sentinel(shared, 9), sentinel(shared, 1)
    silent.signal(signal.SIGSTOP)
    [node] = nodes(f"valkey://{other.address},{silent.address}?prefix=silent")
    assert connect(node).ask("ADDJOB", "q", "x", 0)


def test_a_password_of_their_own(sentinel, stack, nodes, connect):
    """Sentinels may want to hear another one than the servers, the same, or none."""
    own = stack.enter_context(valkey())
    own.ask("CONFIG", "SET", "requirepass", "one")
    auth = "sentinel auth-pass mymaster one"
    with_own, with_same, with_none = (sentinel(own, 1, auth) for _ in range(3))
    with_own.ask("ACL", "SETUSER", "default", "resetpass", ">two")
    with_same.ask("ACL", "SETUSER", "default", "resetpass", ">one")
    for place in (
        f"valkey://:one@{with_own.address}?sentinel_password=two&prefix=a",
        f"valkey://:one@{with_same.address}?prefix=b",
        f"valkey://:one@{with_none.address}?prefix=c",
    ):
        [node] = nodes(place)
        assert connect(node).ask("ADDJOB", "q", "x", 0)
    wrong = f"valkey://:one@{with_own.address}?sentinel_password=guess"
    with pytest.raises(LineLostError, match="WRONGPASS") as caught, Server(store=wrong):
        pass
    assert "guess" not in str(caught.value)


def test_users_that_sentinels_do_not_know(sentinel, stack, nodes, connect):
    """The servers' users need not be there where nobody has to log in."""
    own = stack.enter_context(valkey())
    own.ask("ACL", "SETUSER", "me", "on", ">secret", "~*", "&*", "+@all")
    [node] = nodes(f"valkey://me:secret@{sentinel(own, 1).address}")
    assert connect(node).ask("ADDJOB", "q", "x", 0)
