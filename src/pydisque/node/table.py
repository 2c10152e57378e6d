"""The command table: every command of a node, with what COMMAND tells of it and its handler."""

from __future__ import annotations

from pydisque.node import diagnostics, job_commands, server_commands
from pydisque.node.node import Command


def command_table() -> dict[bytes, Command]:
    """A new node's commands by their lower case names.

    `most` marks the two that take more words than a Disque server does, for the handshakes of
    today's Redis clients: ``HELLO 3 …`` and ``AUTH user password``.
    """
    job, server, about = job_commands, server_commands, diagnostics
    commands = [
        Command(b"addjob", -4, b"write denyoom fast", job.addjob),
        Command(b"getjob", -2, b"write fast", job.getjob),
        Command(b"ackjob", -1, b"write fast", job.ackjob),
        Command(b"fastack", -1, b"write fast", job.fastack),
        Command(b"deljob", -1, b"write fast", job.deljob),
        Command(b"show", 2, b"readonly fast", job.show),
        Command(b"enqueue", -1, b"write denyoom fast", job.enqueue),
        Command(b"nack", -1, b"write denyoom fast", job.nack),
        Command(b"dequeue", -1, b"write fast", job.dequeue),
        Command(b"working", 2, b"write fast", job.working),
        Command(b"loadjob", 2, b"write", job.loadjob),
        Command(b"qlen", 2, b"readonly fast", job.qlen),
        Command(b"qpeek", 3, b"readonly", job.qpeek),
        Command(b"qstat", 2, b"readonly fast", job.qstat),
        Command(b"qscan", -1, b"readonly", job.qscan),
        Command(b"jscan", -1, b"readonly", job.jscan),
        Command(b"pause", -3, b"readonly fast", job.pause),
        Command(b"auth", 2, b"readonly loading fast", server.auth, most=3),
        Command(b"ping", -1, b"readonly fast", server.ping),
        Command(b"hello", 1, b"readonly fast", server.hello, most=7),
        Command(b"time", 1, b"readonly fast", server.tell_time),
        Command(b"client", -2, b"readonly admin", server.client),
        Command(b"config", -2, b"readonly admin", server.config),
        Command(b"cluster", -2, b"readonly admin", server.cluster),
        Command(b"monitor", 1, b"readonly admin", server.monitor),
        Command(b"shutdown", -1, b"readonly admin loading", server.shutdown),
        Command(b"bgrewriteaof", 1, b"readonly admin", server.bgrewriteaof),
        Command(b"info", -1, b"readonly loading", about.info),
        Command(b"command", 0, b"readonly loading", about.command),
        Command(b"slowlog", -2, b"readonly", about.slowlog),
        Command(b"latency", -2, b"readonly admin loading", about.latency),
        Command(b"debug", -2, b"admin", about.debug),
    ]
    return {command.name: command for command in commands}
