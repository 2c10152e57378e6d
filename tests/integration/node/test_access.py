"""Who may do what: before the login, as a user, as an admin; and that no password is shown."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hiredis import ReplyError

from pydisque.client import Client
from pydisque.errors import NoPermError
from pydisque.node import Server
from pydisque.node.commands.table import command_table
from support.resp_peer import Peer, clients, error, pack
from support.servers import until

NOAUTH = "NOAUTH Authentication required."
COMMANDS = command_table().values()


@pytest.fixture
def users(tmp_path: Path) -> str:
    """A file with `ci`, who is no admin, and `root`, who is one."""
    file = tmp_path / "users.toml"
    file.write_text('[ci]\npassword = "tick"\n[root]\npassword = "tock"\nadmin = true\n')
    return str(file)


@pytest.fixture
def locked(users: str) -> Iterator[Server]:
    """A node with further users, and a password for `default`."""
    with Server(password="secret", users=users) as server:
        yield server


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name.decode())
def test_nothing_runs_before_the_login(locked: Server, command: Any) -> None:
    """Of all commands only AUTH, HELLO with AUTH, and QUIT do something for a stranger."""
    words = [command.name, *[b"x"] * (command.least - 1)]
    with Peer(locked.address) as peer:
        reply = error(peer.ask(*words))
        assert reply == ("ERR invalid password" if command.name == b"auth" else NOAUTH)
        assert clients_seen_by(locked) == ["root", ""]
        assert peer.ask("HELLO", 2, "AUTH", "ci", "tick")
        peer.send("QUIT")
        assert peer.rest() == b"+OK\r\n"


def clients_seen_by(server: Server) -> list[str]:
    """The names of the clients, the node's own witness first: so it still serves."""
    with Peer(server.address) as peer:
        assert peer.ask("AUTH", "root", "tock") == b"OK"
        peer.ask("CLIENT", "SETNAME", "root")
        return sorted((each["name"] for each in clients(peer)), reverse=True)


@pytest.mark.parametrize("words", [["AUTH"], ["HELLO", "3", "AUTH"], ["HELLO", "2", "AUTH"]])
@pytest.mark.parametrize(
    ("name", "password", "right"),
    [
        ("default", "secret", True),
        ("ci", "tick", True),
        ("root", "tock", True),
        ("ci", "tock", False),
        ("ci", "", False),
        ("ci", hashlib.sha256(b"tick").hexdigest(), False),
        ("default", "tick", False),
        ("nobody", "secret", False),
        ("", "", False),
        ("CI", "tick", False),
    ],
)
def test_names_and_passwords(
    locked: Server, words: list[str], name: str, password: str, right: bool
) -> None:
    """Each user's own password lets him in, by AUTH and by HELLO; no other does."""
    with Peer(locked.address) as peer:
        reply = peer.ask(*words, name, password)
        if right:
            assert not isinstance(reply, ReplyError)
            assert peer.ask("PING") == b"PONG"
        else:
            assert error(reply) == "ERR invalid password"
            assert error(peer.ask("PING")) == NOAUTH


def test_a_wrong_password_ends_the_old_login(locked: Server) -> None:
    """Who fails to become somebody else is nobody."""
    with Peer(locked.address) as peer:
        assert peer.ask("AUTH", "secret") == b"OK"
        assert error(peer.ask("AUTH", "ci", "wrong")) == "ERR invalid password"
        assert error(peer.ask("PING")) == NOAUTH


def test_users_alone_want_a_login(users: str) -> None:
    """With users configured everybody logs in, though `default` has no password and cannot."""
    with Server(users=users) as server, Peer(server.address) as peer:
        assert error(peer.ask("PING")) == NOAUTH
        for words in (["AUTH", ""], ["AUTH", "default", ""]):
            assert error(peer.ask(*words)) == "ERR invalid password"
        assert peer.ask("AUTH", "ci", "tick") == b"OK"
        assert peer.ask("PING") == b"PONG"


ADMIN = [
    "CONFIG GET port", "CONFIG SET timeout 0", "CONFIG RESETSTAT", "CONFIG x", "DEBUG STRUCTSIZE",
    "SHUTDOWN", "MONITOR", "BGREWRITEAOF", "SLOWLOG RESET", "LATENCY RESET", "LATENCY reset x",
    "CLIENT KILL 1.2.3.4:5", "client kill ID 1", "CLIENT LIST", "CLIENT PAUSE 0",
    "CLUSTER MEET 127.0.0.1 1", "CLUSTER FORGET x", "CLUSTER RESET", "CLUSTER RESET HARD",
    "CLUSTER LEAVING yes", "cluster leaving NO", "CLUSTER SAVECONFIG",
]  # fmt: skip
OPEN = [
    "PING", "HELLO", "TIME", "INFO", "COMMAND COUNT", "QLEN q", "ADDJOB q x 0", "QSCAN",
    "GETJOB NOHANG FROM q", "PAUSE q state", "SLOWLOG GET", "SLOWLOG LEN", "LATENCY LATEST",
    "CLIENT SETNAME me", "CLIENT GETNAME", "CLIENT SETINFO LIB-NAME x", "CLIENT ID",
    "CLIENT REPLY ON", "CLUSTER MYID", "CLUSTER NODES", "CLUSTER INFO", "CLUSTER LEAVING",
]  # fmt: skip


@pytest.mark.parametrize("line", ADMIN)
def test_what_only_admins_may(locked: Server, line: str) -> None:
    """A user that is no admin is told so, and nothing happens; an admin gets on."""
    words = line.split()
    with Peer(locked.address) as peer:
        peer.ask("AUTH", "ci", "tick")
        told = error(peer.ask(*words))
        assert told.startswith("NOPERM this user has no permissions to run the '")
        assert told.split("'")[1].split("|")[0] == words[0].lower()
        assert peer.ask("PING") == b"PONG"
        if words[0] != "SHUTDOWN":
            peer.ask("AUTH", "root", "tock")
            assert "NOPERM" not in str(peer.ask(*words))


@pytest.mark.parametrize("line", OPEN)
def test_what_everybody_may(locked: Server, line: str) -> None:
    """Jobs, queues and a look around are open to every user."""
    with Peer(locked.address) as peer:
        peer.ask("AUTH", "ci", "tick")
        assert not isinstance(peer.ask(*line.split()), ReplyError)


def test_the_client_has_a_name_for_it(locked: Server) -> None:
    """The client raises NoPermError, and the text names the command."""
    with (
        Client(locked.address, username="ci", password="tick") as client,
        pytest.raises(NoPermError, match="run the 'config' command"),
    ):
        client.execute_command("CONFIG", "GET", "*")


def test_further_commands_for_admins(users: str) -> None:
    """`admin-commands` closes more of them."""
    with (
        Server(users=users, admin_commands=["deljob", "INFO"]) as server,
        Peer(server.address) as peer,
    ):
        peer.ask("AUTH", "ci", "tick")
        for words in (["DELJOB"], ["info"], ["info", "jobs"]):
            told = f"the '{words[0].lower()}' command"
            assert told in error(peer.ask(*words))
        peer.ask("AUTH", "root", "tock")
        assert peer.ask("DELJOB") == 0


def test_disabled_commands() -> None:
    """What is disabled is as unknown as a command that never was."""
    with Server(disable_commands="debug, MONITOR") as server, Peer(server.address) as peer:
        for word in ("DEBUG", "debug", "DeBuG", "MONITOR"):
            assert error(peer.ask(word, "FLUSHALL")) == f"ERR unknown command '{word}'"
        assert peer.ask("COMMAND", "COUNT") == len(COMMANDS) - 2
        assert peer.ask("COMMAND", "INFO", "debug") == [None]


@pytest.mark.parametrize("name", ["disable_commands", "admin_commands"])
def test_unknown_commands_cannot_be_disabled(name: str) -> None:
    """A name that is no command is an error, as it is most likely a slip."""
    with pytest.raises(ValueError, match=r"-commands: there is no command foo and no quit$"):
        Server(**{name: "ping,foo,quit"})  # type: ignore[arg-type]


def test_a_password_from_a_file(tmp_path: Path) -> None:
    """`requirepass-file` is the same as requirepass; both together are an error."""
    (tmp_path / "pw").write_text("secret\n")
    with Server(requirepass_file=str(tmp_path / "pw")) as server, Peer(server.address) as peer:
        assert peer.ask("AUTH", "secret") == b"OK"
    with pytest.raises(ValueError, match=r"^requirepass-file: there is requirepass as well"):
        Server(password="x", requirepass_file=str(tmp_path / "pw"))


def test_no_password_on_a_monitor_or_in_the_slow_log() -> None:
    """MONITOR and SLOWLOG show that somebody logged in, not with what."""
    with (
        Server(password="secret", slowlog_log_slower_than=0) as server,
        Peer(server.address) as monitor,
        Peer(server.address) as peer,
    ):
        monitor.raw(pack("AUTH", "secret") + pack("MONITOR"))
        assert [monitor.read(), monitor.read()] == [b"OK", b"OK"]
        peer.ask("AUTH", "secret")
        peer.ask("AUTH", "default", "secret")
        peer.ask("auth", "secret1")
        peer.ask("HELLO", 2, "SETNAME", "auth", "AUTH", "default", "secret")
        peer.ask("CONFIG", "SET", "RequirePass", "secret")
        peer.ask("PING")
        seen = [monitor.read().partition(b"] ")[2] for _ in range(6)]
        slow = peer.ask("SLOWLOG", "GET", 50)
    redacted = b'"(redacted)"'
    assert seen == [
        b'"AUTH" ' + redacted, b'"AUTH" ' + redacted, b'"auth" ' + redacted,
        b'"HELLO" "2" "SETNAME" "auth" ' + redacted,
        b'"CONFIG" "SET" "RequirePass" ' + redacted, b'"PING"',
    ]  # fmt: skip
    assert b"secret" not in b" ".join(arg for entry in slow for arg in entry[3])
    assert [b"AUTH", b"(redacted)"] in [entry[3] for entry in slow]


def test_wrong_passwords_are_logged(locked: Server, caplog: pytest.LogCaptureFixture) -> None:
    """With address and user, without the password, and without a name that is nobody's."""
    with caplog.at_level(logging.WARNING, "pydisque.node"), Peer(locked.address) as peer:
        host, port = peer.sock.getsockname()
        peer.ask("AUTH", "ci", "hunter2")
        peer.ask("AUTH", "hunter2", "ci")
    assert caplog.messages == [f"wrong password from {host}:{port} for user 'ci'"]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (pack("PING", *["x"] * 10), b"unauthenticated multibulk length"),
        (pack("AUTH", "x" * 16_385), b"unauthenticated bulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$536870912\r\n", b"unauthenticated bulk length"),
        (pack("AUTH", "wrong") + pack("PING", "x" * 16_385), b"unauthenticated bulk length"),
    ],
)
def test_strangers_are_brief(locked: Server, sent: bytes, told: bytes) -> None:
    """A client that has not logged in may not make the node hold much for it."""
    with Peer(locked.address) as peer:
        peer.raw(sent)
        assert peer.rest().endswith(b"-ERR Protocol error: " + told + b"\r\n")


def test_a_login_lifts_the_limits_at_once(locked: Server) -> None:
    """What comes in one piece with the login may be long; after a failed one it may not."""
    long = pack("PING", "x" * 20_000)
    with Peer(locked.address) as peer:
        peer.raw(pack("AUTH", "ci", "tick") + pack("GETJOB", "TIMEOUT", 50, "FROM", "q") + long)
        assert [peer.read() for _ in range(3)] == [b"OK", None, b"x" * 20_000]
        assert peer.ask("FASTACK", *["x"] * 20)
        peer.ask("AUTH", "wrong")
        peer.raw(long)
        assert peer.rest() == b"-ERR Protocol error: unauthenticated bulk length\r\n"


def test_a_password_at_runtime_limits_strangers(peer: Peer, node: Server) -> None:
    """A password set while the node runs counts for those who are there, and so do the limits."""
    with Peer(node.address) as other:
        assert other.ask("PING", "x" * 20_000)
        peer.ask("CONFIG", "SET", "requirepass", "one")
        other.raw(pack("PING", "x" * 20_000))
        assert b"unauthenticated" in other.rest()
    peer.ask("AUTH", "one")
    peer.ask("CONFIG", "SET", "requirepass", "")
    with Peer(node.address) as other:
        assert other.ask("PING", "x" * 20_000)


def test_strangers_do_not_stay(users: str) -> None:
    """Who does not log in within `auth-timeout` is hung up on; who did stays."""
    with (
        Server(users=users, auth_timeout=1) as server,
        Peer(server.address) as stranger,
        Peer(server.address) as known,
    ):
        known.ask("AUTH", "root", "tock")
        assert stranger.rest() == b""
        until(lambda: len(clients(known)) == 1)
        assert known.ask("CONFIG", "SET", "auth-timeout", 0) == b"OK"
        assert known.ask("CONFIG", "GET", "auth-timeout") == [b"auth-timeout", b"0"]


def test_a_public_node_keeps_its_password() -> None:
    """CONFIG SET cannot take the password from a node that listens beyond loopback."""
    with (
        Server("0.0.0.0", password="secret") as server,
        Peer(f"127.0.0.1:{server.port}") as peer,
    ):
        peer.ask("AUTH", "secret")
        told = error(peer.ask("CONFIG", "SET", "RequirePass", ""))
        assert told.startswith("ERR protected mode: ")
        assert peer.ask("CONFIG", "SET", "requirepass", "other") == b"OK"
    with pytest.raises(ValueError, match="protected mode"):
        Server("0.0.0.0")
