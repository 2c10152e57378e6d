"""What a node tells about itself: INFO, COMMAND, SLOWLOG, LATENCY, DEBUG.

Handlers as in `job_commands`. Every figure is this node's own; fields that have no meaning for it
are kept for the programs that read them and say nothing untrue.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable

from pydisque._version import __version__
from pydisque.errors import DisqueError
from pydisque.node.commands.server import DISQUE_VERSION
from pydisque.node.engine.job import Job
from pydisque.node.state.node import Command, Node, Session
from pydisque.node.store.deferred import Later
from pydisque.node.wire import arguments, resp
from pydisque.node.wire.arguments import shown
from pydisque.node.wire.deferred_reply import Reply, shaped

Fields = dict[str, object]
Totals = tuple[int, int]
"""How many jobs and how many queues there are."""

MOST_NAMES = 1000
"""Words of one COMMAND: there are fewer commands, but one may be named again and again."""

SOON = 0.5
"""Seconds that INFO waits for what has to be counted elsewhere."""


def info(session: Session, args: list[bytes]) -> bytes | Reply:
    """Tell about the node, all of it or one section."""
    if len(args) > 2:
        raise arguments.syntax_error()
    wanted = args[1].lower().decode("latin-1") if len(args) == 2 else "default"
    node = session.node
    names = [
        name
        for name in _SECTIONS
        if wanted in (name, "all") or (wanted == "default" and name != "commandstats")
    ]
    node.peak_memory = max(node.peak_memory, node.used_memory)
    if "jobs" in names or "queues" in names:
        totals = node.totals()
        if isinstance(totals, Later):
            return Reply(_soon(node, totals), lambda counted: _told(node, names, counted))
        return _told(node, names, totals)
    return _told(node, names, None)


def _soon(node: Node, totals: Later[Totals]) -> Later[Totals | None]:
    """What is counted elsewhere; None when it cannot be told soon: the rest is wanted then most."""
    answer: Later[Totals | None] = Later()
    waits = True

    def tell(counted: Totals | None) -> None:
        nonlocal waits
        if waits:
            waits = False
            answer.done(counted)

    totals.then(tell, lambda _error: tell(None))
    node.call_later(SOON, lambda: tell(None))
    return answer


def _told(node: Node, names: list[str], counted: Totals | None) -> bytes:
    totals: dict[str, Fields] = {"jobs": {}, "queues": {}}
    if counted is not None:
        totals["jobs"]["registered_jobs"], totals["queues"]["registered_queues"] = counted
    sections = [
        f"# {name.capitalize() if name != 'cpu' else 'CPU'}\r\n"
        + "".join(
            f"{field}:{value}\r\n"
            for field, value in (totals[name] if name in totals else _SECTIONS[name](node)).items()
        )
        for name in names
    ]
    return resp.bulk("\r\n".join(sections).encode("utf-8", "surrogateescape"))


def _server(node: Node) -> Fields:
    uptime = int(time.time() - node.started)
    return {
        "disque_version": DISQUE_VERSION.decode(),
        "disque_git_sha1": "00000000",
        "disque_git_dirty": 0,
        "disque_build_id": f"pydisque-{__version__}",
        "pydisque_version": __version__,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "arch_bits": 64 if sys.maxsize > 2**32 else 32,
        "multiplexing_api": node.multiplexing_api,
        "gcc_version": "0.0.0",
        "python_version": platform.python_version(),
        "process_id": os.getpid(),
        "run_id": node.run_id,
        "tcp_port": node.config["port"],
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime // 86400,
        "hz": node.config["hz"],
        "executable": sys.executable,
        "config_file": "",
    }


def _clients(node: Node) -> Fields:
    buffers = [session.buffers() for session in node.sessions.values()]
    return {
        "connected_clients": len(node.sessions),
        "client_longest_output_list": max((int(unsent > 0) for _, unsent in buffers), default=0),
        "client_biggest_input_buf": max((received for received, _ in buffers), default=0),
        "blocked_clients": len(node.waiting),
    }


def _memory(node: Node) -> Fields:
    used, peak, resident = node.used_memory, node.peak_memory, resident_memory()
    return {
        "used_memory": used,
        "used_memory_human": _human(used),
        "used_memory_rss": resident,
        "used_memory_peak": peak,
        "used_memory_peak_human": _human(peak),
        "mem_fragmentation_ratio": f"{resident / used:.2f}",
        "mem_allocator": "python",
    }


def _persistence(node: Node) -> Fields:
    kept = node.store.persistence()
    durable = node.store.durable
    return {
        "loading": 0,
        "aof_enabled": int(durable),
        "aof_state": "on" if durable else "off",
        "aof_rewrite_in_progress": 0,
        "aof_rewrite_scheduled": 0,
        "aof_last_rewrite_time_sec": -1,
        "aof_current_rewrite_time_sec": -1,
        "aof_last_bgrewrite_status": "ok",
        "aof_last_write_status": "err" if node.store.failure else "ok",
        **kept,
    }


def _stats(node: Node) -> Fields:
    commands, kib_in, kib_out = node.rates
    return {
        "total_connections_received": node.connections,
        "total_commands_processed": node.processed,
        "instantaneous_ops_per_sec": commands,
        "total_net_input_bytes": node.received_bytes,
        "total_net_output_bytes": node.sent_bytes,
        "instantaneous_input_kbps": f"{kib_in:.2f}",
        "instantaneous_output_kbps": f"{kib_out:.2f}",
        "rejected_connections": node.rejected,
        "latest_fork_usec": 0,
    }


def _cpu(_: Node) -> Fields:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "used_cpu_sys": f"{own.ru_stime:.2f}",
        "used_cpu_user": f"{own.ru_utime:.2f}",
        "used_cpu_sys_children": f"{children.ru_stime:.2f}",
        "used_cpu_user_children": f"{children.ru_utime:.2f}",
    }


def _commandstats(node: Node) -> Fields:
    return {
        f"cmdstat_{command.name.decode()}": f"calls={command.calls},usec={int(usec)},"
        f"usec_per_call={usec / command.calls:.2f}"
        for command in node.commands.values()
        if command.calls
        for usec in [command.seconds * 1e6]
    }


_SECTIONS: dict[str, Callable[[Node], Fields]] = {
    "server": _server,
    "clients": _clients,
    "memory": _memory,
    "jobs": lambda _: {},
    "queues": lambda _: {},
    "persistence": _persistence,
    "stats": _stats,
    "cpu": _cpu,
    "commandstats": _commandstats,
}


def resident_memory() -> int:
    """Bytes of memory this process takes now; where the system does not tell, at its peak."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - no path to speak of
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _human(size: float) -> str:
    for unit in "BKMG":
        if size < 1024 or unit == "G":
            return f"{int(size)}B" if unit == "B" else f"{size:.2f}{unit}"
        size /= 1024
    raise AssertionError


# COMMAND


def command(session: Session, args: list[bytes]) -> bytes:
    """List the commands."""
    commands = session.node.commands
    if len(args) > MOST_NAMES:
        raise DisqueError(f"COMMAND describes at most {MOST_NAMES} commands in one reply")
    match tuple(word.lower() for word in args[1:]):
        case ():
            return resp.array(list(map(_description, commands.values())))
        case (b"count",):
            return resp.integer(len(commands))
        case (b"info", *names):
            return resp.array(
                [_description(commands[n]) if n in commands else resp.NIL for n in names]
            )
        case (b"docs", *names):
            return _docs([commands[n] for n in names or commands if n in commands])
    raise DisqueError("Unknown subcommand or wrong number of arguments.")


def _description(command: Command) -> bytes:
    flags = resp.array(list(map(resp.status, command.flags)))
    zero = resp.integer(0)
    return resp.array([
        resp.bulk(command.name), resp.integer(command.arity), flags, zero, zero, zero
    ])  # fmt: skip


def _docs(commands: list[Command]) -> bytes:
    """What redis-cli asks for when it starts: a line about each command."""
    parts = []
    for command in commands:
        summary = (command.run.__doc__ or "").partition("\n")[0]
        parts += [
            resp.bulk(command.name),
            resp.bulks([b"summary", summary.encode(), b"since", b"1.0.0", b"group", b"generic"]),
        ]
    return resp.array(parts)


# SLOWLOG, LATENCY


def slowlog(session: Session, args: list[bytes]) -> bytes:
    """Show the commands that took long."""
    node = session.node
    match (args[1].lower(), *args[2:]):
        case (b"get", *limit) if len(limit) < 2:
            count = arguments.integer(limit[0]) if limit else 10
            entries = list(node.slow)[: count if count >= 0 else None]
            return resp.array([
                resp.array([*map(resp.integer, entry[:3]), resp.bulks(entry.args)])
                for entry in entries
            ])  # fmt: skip
        case (b"len",):
            return resp.integer(len(node.slow))
        case (b"reset",):
            node.slow.clear()
            return resp.OK
    raise DisqueError("Unknown SLOWLOG subcommand or wrong # of args. Try GET, RESET, LEN.")


def latency(session: Session, args: list[bytes]) -> bytes:
    """Show how long slow commands took: the log behind latency-monitor-threshold."""
    events = session.node.latency
    match (args[1].lower(), *args[2:]):
        case (b"latest",):
            return resp.array([
                resp.array([
                    resp.bulk(event), *map(resp.integer, log[-1]),
                    resp.integer(max(milliseconds for _, milliseconds in log)),
                ])
                for event, log in events.items()
            ])  # fmt: skip
        case (b"history", event):
            log = events.get(event, ())
            return resp.array([resp.array(list(map(resp.integer, sample))) for sample in log])
        case (b"reset", *names):
            gone = [events.pop(event, None) for event in names or list(events)]
            return resp.integer(len(gone) - gone.count(None))
        case (b"doctor",):
            return resp.bulk(_doctor(session.node))
        case (b"graph", event):
            if event not in events:
                raise DisqueError(f"No samples available for event '{shown(event)}'")
            return resp.bulk(_graph([milliseconds for _, milliseconds in events[event]]))
    raise arguments.syntax_error()


def _doctor(node: Node) -> bytes:
    if not (node.latency or node.config.number("latency-monitor-threshold")):
        return (
            b"Latency monitoring is disabled: "
            b"CONFIG SET latency-monitor-threshold <milliseconds> enables it.\n"
        )
    if not node.latency:
        return b"No command took as long as latency-monitor-threshold.\n"
    lines = [
        b"%b: %d samples, worst %d ms\n" % (event, len(log), max(ms for _, ms in log))
        for event, log in node.latency.items()
    ]
    return b"".join(lines)


def _graph(samples: list[int]) -> bytes:
    bars = " _.-=#"
    high, low = max(samples), min(samples)
    scale = (len(bars) - 1) / ((high - low) or 1)
    line = "".join(bars[round((sample - low) * scale)] for sample in samples[-80:])
    return f"high {high} ms, low {low} ms (all time high {high} ms)\n{line}\n".encode()


# DEBUG


def debug(session: Session, args: list[bytes]) -> bytes | Reply:
    """Help to test: forget everything, sleep, answer an error."""
    match (args[1].lower(), *args[2:]):
        case (b"flushall", *_):
            return shaped(session.node.flush(), lambda _: resp.OK)
        case (b"sleep", seconds):
            time.sleep(_seconds(seconds))
            return resp.OK
        case (b"error", message):
            return resp.error(message.decode("utf-8", "surrogateescape"))
        case (b"structsize",):
            size = sys.getsizeof(Job(b"", b"", b"", 0, 0, 0))
            return resp.bulk(b"bits:64 job:%d" % size)
    raise DisqueError(
        f"Unknown DEBUG subcommand or wrong number of arguments for '{shown(args[1])}'"
    )


def _seconds(word: bytes) -> float:
    try:
        return min(max(0.0, float(word)), 3600.0)
    except ValueError:
        return 0.0
