"""The commands on the node itself and on the connection: PING, AUTH, HELLO, CONFIG, CLUSTER, ….

Handlers as in `job_commands`. A node here is always alone: CLUSTER answers for that.
"""

from __future__ import annotations

import ipaddress
import logging
import time

from pydisque.errors import DisqueError, NoAuthError, NoProtoError
from pydisque.node.config import exposure
from pydisque.node.config.parameters import LOG_LEVELS
from pydisque.node.config.users import DEFAULT
from pydisque.node.state.node import Session
from pydisque.node.store.base import Fellow
from pydisque.node.wire import arguments, resp
from pydisque.node.wire.arguments import shown, text
from pydisque.node.wire.deferred_reply import Reply, shaped


def ping(session: Session, args: list[bytes]) -> bytes:
    """Ask for a sign of life."""
    if len(args) > 2:
        raise DisqueError("wrong number of arguments for 'ping' command")
    return resp.bulk(args[1]) if len(args) == 2 else b"+PONG\r\n"


def tell_time(session: Session, args: list[bytes]) -> bytes:
    """Tell the time as seconds and microseconds."""
    now = time.time_ns() // 1000
    return resp.bulks([b"%d" % (now // 1_000_000), b"%d" % (now % 1_000_000)])


def auth(session: Session, args: list[bytes]) -> bytes:
    """Log in with a password, of the user ``default`` or of the one named before it."""
    node = session.node
    if not node.users.wanted:
        raise DisqueError("Client sent AUTH, but no password is set")
    name = args[1] if len(args) == 3 else DEFAULT
    session.admit(node.users.find(name, args[-1]))
    if session.user is None:
        node.refusals.note(node.store.now, session.address, name if name in node.users else None)
        raise DisqueError("invalid password")
    return resp.OK


def hello(session: Session, args: list[bytes]) -> bytes:
    """Tell who this node is and which others there are; with a version, greet as Redis does."""
    node = session.node
    if len(args) > 1:
        return _handshake(session, args)
    priority = b"100" if node.leaving else b"1"
    me = resp.bulks([node.id, b"", node.config["port"].encode(), priority])
    others = [
        resp.bulks([other.id, other.host, b"%d" % other.port, b"%d" % other.priority])
        for other in node.store.fellows
    ]
    return resp.array([resp.integer(1), resp.bulk(node.id), me, *others])


def _handshake(session: Session, args: list[bytes]) -> bytes:
    """HELLO 2|3 [AUTH user password] [SETNAME name]: Redis's handshake, nothing done on error."""
    if not args[1].isdigit():
        raise session.node.commands[b"hello"].arity_error()
    if args[1] not in (b"2", b"3"):
        raise NoProtoError
    name = session.name
    i = 2
    while i < len(args):
        word = args[i].lower()
        if word == b"auth" and i + 2 < len(args):
            auth(session, args[i : i + 3])
            i += 3
        elif word == b"setname" and i + 1 < len(args):
            name = _client_name(args[i + 1])
            i += 2
        else:
            raise DisqueError(f"Syntax error in HELLO option '{shown(args[i])}'")
    if session.node.users.wanted and session.user is None:
        raise NoAuthError(
            "HELLO must be called with the client already authenticated, otherwise the "
            "HELLO <proto> AUTH <user> <pass> option can be used"
        )
    session.name = name
    session.resp3 = args[1] == b"3"
    session.guarded = session.guarded or session.resp3
    fields = [
        (b"server", resp.bulk(b"disque")),
        (b"version", resp.bulk(DISQUE_VERSION)),
        (b"proto", resp.integer(int(args[1]))),
        (b"id", resp.integer(session.id)),
        (b"mode", resp.bulk(b"standalone")),
        (b"role", resp.bulk(b"master")),
        (b"modules", resp.array([])),
    ]
    body = b"".join(resp.bulk(name) + value for name, value in fields)
    return (b"%%%d\r\n" if session.resp3 else b"*%d\r\n") % (
        len(fields) * (1 if session.resp3 else 2)
    ) + body


DISQUE_VERSION = b"1.0-rc1"
"""What this node answers like; its own version stands beside it in INFO."""


LONGEST_NAME = 1024


def _client_name(name: bytes) -> bytes:
    if len(name) > LONGEST_NAME:
        raise DisqueError(f"Client names cannot be longer than {LONGEST_NAME} bytes.")
    if any(byte < 33 or byte > 126 for byte in name):
        raise DisqueError("Client names cannot contain spaces, newlines or special characters.")
    return name


# CLIENT


def client(session: Session, args: list[bytes]) -> bytes:
    """See and name connections, end them, hold all of them for a while."""
    match (args[1].lower(), *args[2:]):
        case (b"list",):
            return resp.bulk(b"".join(map(_client_line, session.node.sessions.values())))
        case (b"getname",):
            return resp.bulk(session.name or None)
        case (b"setname", name):
            session.name = _client_name(name)
            return resp.OK
        case (b"setinfo", _, _):
            return resp.OK
        case (b"id",):
            return resp.integer(session.id)
        case (b"kill", *_):
            return _client_kill(session, args)
        case (b"pause", milliseconds):
            session.node.hold(arguments.timeout(milliseconds))
            return resp.OK
        case (b"reply", mode):
            return _client_reply(session, mode.lower())
    raise DisqueError(
        "Syntax error, try CLIENT (LIST | KILL ip:port | GETNAME | SETNAME connection-name)"
    )


def _client_reply(session: Session, mode: bytes) -> bytes:
    if mode not in (b"on", b"off", b"skip"):
        raise arguments.syntax_error()
    if mode != b"skip" or session.reply_mode != b"off":
        session.reply_mode = mode
        session.guarded = session.guarded or mode != b"on"
    return resp.OK if mode == b"on" else b""


def _client_line(session: Session) -> bytes:
    now = session.node.store.now
    flags = b"O" * session.monitoring + b"b" * session.blocked + b"U" * session.unix
    received, unsent = session.buffers()
    command = session.last_command.name if session.last_command else b"NULL"
    return (
        b"id=%d addr=%b fd=%d name=%b age=%d idle=%d flags=%b qbuf=%d qbuf-free=0 obl=0 oll=%d "
        b"omem=%d events=r cmd=%b\n"
    ) % (
        session.id, session.address, session.fd, session.name,
        (now - session.created) // 1000, (now - session.last_used) // 1000, flags or b"N",
        received, unsent > 0, unsent, command,
    )  # fmt: skip


def _client_kill(session: Session, args: list[bytes]) -> bytes:
    sessions = session.node.sessions.values()
    if len(args) == 3:
        found = [other for other in sessions if other.address == args[2]]
        if not found:
            raise DisqueError("No such client")
        _hang_up(session, found)
        return resp.OK
    wanted = {b"skipme": b"yes", **dict(_kill_filters(args))}
    found = [
        other
        for other in sessions
        if wanted.get(b"id", b"%d" % other.id) == b"%d" % other.id
        and wanted.get(b"addr", other.address) == other.address
        and (other is not session or wanted[b"skipme"] == b"no")
    ]
    _hang_up(session, found)
    return resp.integer(len(found))


def _kill_filters(args: list[bytes]) -> list[tuple[bytes, bytes]]:
    if len(args) < 4 or len(args) % 2:
        raise arguments.syntax_error()
    filters = []
    for name, value in zip(args[2::2], args[3::2], strict=True):
        word, choice = name.lower(), value
        if word == b"id":
            choice = b"%d" % arguments.integer(value)
        elif word == b"type" and value.lower() != b"normal":
            raise DisqueError(f"Unknown client type '{shown(value)}'")
        elif word == b"skipme":
            choice = value.lower()
        if word not in (b"id", b"addr", b"type", b"skipme") or (
            word == b"skipme" and choice not in (b"yes", b"no")
        ):
            raise arguments.syntax_error()
        filters.append((word, choice))
    return filters


def _hang_up(session: Session, sessions: list[Session]) -> None:
    for other in sessions:
        if other is session:
            other.close()
        else:
            other.abort()  # at once: it may be killed because it does not read


def monitor(session: Session, args: list[bytes]) -> bytes:
    """Show every command that is run from now on."""
    if session.monitoring:
        return b""
    session.monitoring = True
    session.node.monitors[session] = None
    session.node.check_guard()
    return resp.OK


# CONFIG


def config(session: Session, args: list[bytes]) -> bytes:
    """Read and change the node's parameters."""
    node = session.node
    word = args[1].lower()
    counts = {b"get": 3, b"set": 4, b"resetstat": 2, b"rewrite": 2}
    if word not in counts:
        raise DisqueError("CONFIG subcommand must be one of GET, SET, RESETSTAT, REWRITE")
    if len(args) != counts[word]:
        raise DisqueError(f"Wrong number of arguments for CONFIG {shown(args[1])}")
    if word == b"get":
        items = node.config.matching(text(args[2]))
        pairs = [resp.bulk(part.encode("utf-8", "surrogateescape")) for i in items for part in i]
        return (b"%%%d\r\n" % len(items) if session.resp3 else b"*%d\r\n" % len(pairs)) + b"".join(
            pairs
        )
    if word == b"set":
        _config_set(session, args)
    elif word == b"resetstat":
        node.reset_statistics()
    else:
        raise DisqueError("The server is running without a config file")
    return resp.OK


def _config_set(session: Session, args: list[bytes]) -> None:
    node = session.node
    name, value = text(args[2]), text(args[3])
    if name.lower() == "requirepass" and exposure.exposed(node.config, value):
        raise DisqueError("protected mode: this node listens beyond loopback and needs a password")
    if name.lower() == "maxclients" and value.isdigit() and int(value) < 2**63:
        room = exposure.room_for_clients(int(value))
        if room < int(value):
            raise DisqueError(
                "The operating system is not able to handle the specified number of clients, "
                f"try with {room}"
            )
    name = node.config.set(name, value)
    if name == "loglevel":
        logging.getLogger("pydisque.node").setLevel(LOG_LEVELS[node.config[name]])
    node.configure()
    if name == "requirepass":
        for other in node.sessions.values():
            other.admit(other.user)


# CLUSTER


def cluster(session: Session, args: list[bytes]) -> bytes | Reply:  # noqa: C901 - a flat list
    """Ask about the cluster, which for this node is itself alone."""
    node = session.node
    match (args[1].lower(), *args[2:]):
        case (b"myid",):
            return resp.bulk(node.id)
        case (b"nodes",):
            flags = b"myself,leaving" if node.leaving else b"myself"
            port = node.config["port"].encode()
            me = b"%b :%b %b 0 0 connected\n" % (node.id, port, flags)
            return resp.bulk(me + b"".join(map(_fellow_line, node.store.fellows)))
        case (b"info",):
            others = len(node.store.fellows)
            return resp.bulk(
                b"cluster_state:ok\r\ncluster_known_nodes:%d\r\ncluster_reachable_nodes:%d\r\n"
                b"cluster_size:%d\r\ncluster_stats_messages_sent:0\r\n"
                b"cluster_stats_messages_received:0\r\n" % (others + 1, others, others + 1)
            )
        case (b"meet", host, port):
            return _meet(host, port)
        case (b"forget", other):
            if len(other) != 40:
                raise DisqueError("Invalid node identifier")
            if other == node.id:
                raise DisqueError("I tried hard but I can't forget myself...")
            raise DisqueError(f"Unknown node {shown(other)}")
        case (b"reset",):
            return shaped(node.flush(), lambda _: resp.OK)
        case (b"reset", how):
            return _reset(session, how.lower())
        case (b"leaving", *choice) if len(choice) < 2:
            return _leaving(session, choice)
        case (b"saveconfig",):
            return resp.OK
    raise DisqueError("Wrong CLUSTER subcommand or number of arguments")


def _fellow_line(other: Fellow) -> bytes:
    flags = b"leaving" if other.priority >= 100 else b"noflags"
    return b"%b %b:%d %b 0 0 connected\n" % (other.id, other.host, other.port, flags)


def _meet(host: bytes, port: bytes) -> bytes:
    number = arguments.integer(port, f"Invalid TCP port specified: {shown(port)}")
    try:
        ipaddress.ip_address(text(host))
        valid = 1 <= number <= 55535
    except ValueError:
        valid = False
    if not valid:
        raise DisqueError(f"Invalid node address specified: {text(host)}:{shown(port)}")
    raise DisqueError(
        "This node forms no cluster of its own: for more than one machine run nodes on Valkey"
    )


def _reset(session: Session, how: bytes) -> bytes | Reply:
    if how not in (b"soft", b"hard"):
        raise arguments.syntax_error()
    flushed = session.node.flush()
    if how == b"hard":
        session.node.renew_id()
    return shaped(flushed, lambda _: resp.OK)


def _leaving(session: Session, choice: list[bytes]) -> bytes:
    node = session.node
    if not choice:
        return b"+yes\r\n" if node.leaving else b"+no\r\n"
    if choice[0].lower() not in (b"yes", b"no"):
        raise DisqueError("Wrong argument for CLUSTER LEAVING. Use 'yes' or 'no'")
    node.set_leaving(leaving=choice[0].lower() == b"yes")
    return resp.OK


def bgrewriteaof(session: Session, args: list[bytes]) -> bytes:
    """Compact the journal, if there is one."""
    session.node.store.compact()
    return b"+Background append only file rewriting started\r\n"


def shutdown(session: Session, args: list[bytes]) -> bytes:
    """Stop the node."""
    if len(args) > 2 or (len(args) == 2 and args[1].lower() != b"rewrite-aof"):
        raise arguments.syntax_error()
    session.close()
    session.node.stop()
    return b""
