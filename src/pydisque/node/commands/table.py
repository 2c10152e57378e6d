"""The command table: every command of a node, with what COMMAND tells of it and its handler."""

from __future__ import annotations

from pydisque.node.commands import diagnostics, jobs
from pydisque.node.commands import server as server_commands
from pydisque.node.config.parameters import Config, SettingError
from pydisque.node.state.node import Command

_CLUSTER = b"meet,forget,reset,leaving yes,leaving no,saveconfig"
"""What changes the cluster; CLUSTER LEAVING without a word only asks."""


def command_table() -> dict[bytes, Command]:
    """A new node's commands by their lower case names.

    `admin` says which of them, or of their subcommands, are for admins alone. `most` marks the two
    that take more words than a Disque server does, for the handshakes of today's Redis clients:
    ``HELLO 3 …`` and ``AUTH user password``.
    """
    job, server, about = jobs, server_commands, diagnostics
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
        Command(b"client", -2, b"readonly admin", server.client, admin=b"kill,list,pause"),
        Command(b"config", -2, b"readonly admin", server.config, admin=b"*"),
        Command(b"cluster", -2, b"readonly admin", server.cluster, admin=_CLUSTER),
        Command(b"monitor", 1, b"readonly admin", server.monitor, admin=b"*"),
        Command(b"shutdown", -1, b"readonly admin loading", server.shutdown, admin=b"*"),
        Command(b"bgrewriteaof", 1, b"readonly admin", server.bgrewriteaof, admin=b"*"),
        Command(b"info", -1, b"readonly loading", about.info),
        Command(b"command", 0, b"readonly loading", about.command),
        Command(b"slowlog", -2, b"readonly", about.slowlog, admin=b"reset"),
        Command(b"latency", -2, b"readonly admin loading", about.latency, admin=b"reset"),
        Command(b"debug", -2, b"admin", about.debug, admin=b"*"),
    ]
    return {command.name: command for command in commands}


def commands_for(config: Config) -> dict[bytes, Command]:
    """The commands of a node with these settings: some may be gone, some for admins alone.

    Raises:
        SettingError: a setting names a command that does not exist.
    """
    commands = command_table()
    for name in _named(config, "admin-commands", commands):
        commands[name].admin = frozenset([b"*"])
    for name in _named(config, "disable-commands", commands):
        commands.pop(name, None)
    return commands


def _named(config: Config, setting: str, commands: dict[bytes, Command]) -> list[bytes]:
    names = [name.encode() for name in config[setting].split(",") if name]
    unknown = [name.decode() for name in names if name not in commands]
    if unknown:
        raise SettingError(setting, f"there is no command {' and no '.join(unknown)}")
    return names
