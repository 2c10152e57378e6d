"""`pydisque serve`: a node's settings as options, and the node until it is stopped."""

from __future__ import annotations

import functools
import itertools
import logging
import os
from typing import Any

import click

from pydisque.service import systemd

# What Disque calls otherwise than most.
_ALIASES = {"bind": "--host", "loglevel": "--log-level"}


class _NodeCommand(click.Command):
    """A command with an option for each setting of a node; the node is loaded when it is asked."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options and the settings."""
        own = super().get_params(ctx)
        return [*own[:-1], *_setting_options(), own[-1]]  # --help comes last


@functools.cache
def _setting_options() -> list[click.Option]:
    from pydisque.node.config.sources import STARTABLE  # noqa: PLC0415 - clients need no server

    options = []
    for name, parameter in STARTABLE.items():
        value: dict[str, Any] = {"metavar": "VALUE"}
        if parameter.switch:  # its name alone is yes
            value = {"metavar": "[yes|no]", "is_flag": False, "flag_value": "yes"}
        default = f"  [default: {parameter.default}]" if parameter.default else ""
        options.append(
            click.Option(
                [f"--{name}", *([_ALIASES[name]] if name in _ALIASES else [])],
                help=parameter.help + default,
                **value,
            )
        )
    return options


@click.command(
    cls=_NodeCommand,
    epilog="Exit code: 0 when it was told to stop, 1 when it cannot run, 2 for wrong settings.",
)
@click.option("--config", metavar="FILE", envvar="PYDISQUE_CONFIG", help="TOML file with settings.")
def serve(config: str | None, **flags: str | None) -> None:
    """Run a node until Ctrl-C, SIGTERM or SHUTDOWN.

    It keeps its jobs in a data directory, and says in which: --data names another.

    Every setting can be given as an option, as a variable (--maxclients is PYDISQUE_MAXCLIENTS)
    and in the file, in this order. Give passwords as variables or files, as other users of the
    machine can read command lines.

    \b
    Examples:
      pydisque serve
      pydisque serve --port 7712 --data /var/lib/pydisque --durability everysec
      pydisque serve --data :memory: --unixsocket /tmp/disque.sock
      pydisque serve --http 127.0.0.1:7780
    """  # noqa: D301 - what looks like an escape is one: it keeps click from filling the lines
    from pydisque.node.config import sources  # noqa: PLC0415
    from pydisque.node.config.parameters import SettingError  # noqa: PLC0415

    if flags["loglevel"] == "info":
        flags["loglevel"] = "notice"
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    given: dict[str, sources.Given] = {}
    try:
        given = sources.gather(named, os.environ, config)
        _run_node({"port": "7711"} | {name: setting.value for name, setting in given.items()})
    except SettingError as error:
        source = given[error.name].source if error.name in given else ""
        raise _WrongSettingError(str(error.at(source))) from None
    except (OSError, ValueError) as error:
        raise click.ClickException(f"cannot serve: {error}") from None


class _WrongSettingError(click.ClickException):
    exit_code = 2


def _run_node(values: dict[str, Any]) -> None:
    from pydisque.node import Server  # noqa: PLC0415
    from pydisque.node.config import sources  # noqa: PLC0415
    from pydisque.node.config.parameters import LOG_LEVELS  # noqa: PLC0415
    from pydisque.service import log_format  # noqa: PLC0415

    level = LOG_LEVELS[values.get("loglevel", "notice")]
    log_format.configure(level, as_json=values.get("log-json") == "yes")
    for variable in sources.unknown_variables(os.environ):
        logging.getLogger("pydisque.node").warning("%s is no setting", variable)
    if "store" not in values:
        values["data"] = values.get("data") or _own_directory(values["port"])
    server = Server(**{name.replace("-", "_"): value for name, value in values.items()})
    server.run(lambda: _listening(server.addresses, values), systemd.stopping)


def _own_directory(port: str) -> str:
    """A data directory for a node that was given none: one for each port, and for each node."""
    from pydisque.node.config.sources import data_home  # noqa: PLC0415
    from pydisque.node.store.durable.journal import in_use  # noqa: PLC0415

    base = data_home()
    paths = (base / (f"{port}-{number}" if number else port) for number in itertools.count())
    return str(next(path for path in paths if not in_use(path)))


def _listening(addresses: list[str], values: dict[str, Any]) -> None:
    click.echo(f"listening on {' and '.join(addresses)}")
    if "store" in values:
        click.echo("jobs are kept in Valkey")
    elif values["data"] == ":memory:":
        click.echo("jobs are kept in memory: they are gone when the node stops")
    else:
        click.echo(f"jobs are kept in {values['data']}")
    systemd.ready()
