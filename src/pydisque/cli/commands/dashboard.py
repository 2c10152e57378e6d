"""`pydisque dashboard`: its settings as options, and the dashboard until it is stopped."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pydisque.cli.options.nodes import to_ask
from pydisque.cli.options.stdin import DASH, claim_input
from pydisque.service import systemd

if TYPE_CHECKING:
    from pydisque.dashboard.auth import Door
    from pydisque.dashboard.settings import Settings

MISSING = "the dashboard needs some packages more: pip install 'pydisque[dashboard]>=1.0'"

EXTRA = {"jinja2", "starlette", "uvicorn"}


@click.command(
    epilog="Exit code: 0 when it was told to stop, 1 when it cannot run, 2 for wrong options."
)
@click.option(
    "--host", metavar="HOST", default="127.0.0.1", show_default=True, help="Where to listen."
)
@click.option(
    "--port", metavar="N", default=7799, show_default=True, type=click.IntRange(0, 65535),
    help="The port; 0: any that is free.",
)  # fmt: skip
@click.option("--allow-actions", is_flag=True, help="Let people change something.")
@click.option("--hide-bodies", is_flag=True, help="Show no bodies, headers, errors, tracebacks.")
@click.option(
    "--token", metavar="TEXT", envvar="PYDISQUE_DASHBOARD_TOKEN", show_envvar=True,
    help="Ask for this token.",
)  # fmt: skip
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(),
    help="The token is in this file, or in standard input (-).",
)
@click.option(
    "--user", metavar="NAME", envvar="PYDISQUE_DASHBOARD_USER", show_envvar=True,
    help="Ask for a name and a password (HTTP's Basic).",
)  # fmt: skip
@click.option(
    "--password", metavar="TEXT", envvar="PYDISQUE_DASHBOARD_PASSWORD", show_envvar=True,
    help="The password.",
)  # fmt: skip
@click.option(
    "--password-file",
    metavar="FILE",
    type=click.Path(),
    help="The password is in this file, or in standard input (-).",
)
@click.option(
    "--allow-host", "hosts", metavar="NAME", multiple=True,
    help="A name by which browsers may call it, beside localhost and addresses.",
)  # fmt: skip
@click.option("--insecure", is_flag=True, help="Let anybody look, from anywhere.")
@click.option("--log-json", is_flag=True, help="Log JSON, an object a line.")
@to_ask
def dashboard(
    host: str,
    port: int,
    allow_actions: bool,
    hide_bodies: bool,
    token: str | None,
    token_file: str | None,
    user: str | None,
    password: str | None,
    password_file: str | None,
    hosts: tuple[str, ...],
    insecure: bool,
    log_json: bool,
    nodes: tuple[str, ...],
) -> None:
    """Show queues, jobs and nodes in a browser, until Ctrl-C or SIGTERM.

    Nothing can be changed unless --allow-actions is given. Who listens beyond this machine has to
    ask for a token or a password; give them as variables or files, as other users of the machine
    can read command lines.

    \b
    Examples:
      pydisque dashboard
      pydisque dashboard --nodes node1:7711,node2:7711 --allow-actions
      pydisque dashboard --host 0.0.0.0 --token-file token --allow-host jobs.example.org
    """  # noqa: D301
    try:
        from pydisque.dashboard.auth import Door, is_loopback  # noqa: PLC0415
        from pydisque.dashboard.settings import Settings  # noqa: PLC0415

        door = _door(
            Door,
            _secret("token", token, token_file),
            user,
            _secret("password", password, password_file),
        )
        if door.open and (empty := _empty(token=token, password=password)):
            raise click.UsageError(f"the {empty} is empty: anybody could look")
        if door.open and not (insecure or is_loopback(host)):
            raise click.UsageError(
                f"anybody who reaches {host} could look: give --token-file or --password-file, "
                "or --insecure if that is meant"
            )
        settings = Settings(
            nodes, door, allow_actions, not hide_bodies, frozenset(name.lower() for name in hosts)
        )
        _run(host, port, settings, log_json=log_json)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise click.ClickException(MISSING) from None


def _secret(what: str, given: str | None, path: str | None) -> str:
    """What was given, or is in the first line of a file."""
    if path is None:
        return given or ""
    try:
        lines = _content(path).decode().splitlines()
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--{what}-file: {error}") from None
    if not lines or not lines[0]:
        raise click.UsageError(f"--{what}-file: {path} is empty")
    return lines[0]


def _content(path: str) -> bytes:
    return (
        claim_input(click.get_current_context()).read() if path == DASH else Path(path).read_bytes()
    )


def _empty(**secrets: str | None) -> str | None:
    """Which secret was to be given, and has nothing in it, as when nobody filled it in."""
    for what, given in secrets.items():
        # Click takes a variable that is empty for one that is not set.
        if given == "" or (given is None and f"PYDISQUE_DASHBOARD_{what.upper()}" in os.environ):
            return what
    return None


def _door(door: type[Door], token: str, user: str | None, password: str) -> Door:
    if bool(user) != bool(password):
        raise click.UsageError("--user and a password go together")
    if token and password:
        raise click.UsageError("give a token or a password, not both")
    return door(token, user or "", password)


def _run(host: str, port: int, settings: Settings, *, log_json: bool) -> None:
    import uvicorn  # noqa: PLC0415 - an extra

    from pydisque.dashboard.app import application  # noqa: PLC0415
    from pydisque.dashboard.http_protocol import Protocol  # noqa: PLC0415
    from pydisque.service import log_format  # noqa: PLC0415

    log_format.configure(logging.INFO, as_json=log_json)
    logging.getLogger("pydisque").setLevel(logging.ERROR)  # pages say that a node is gone
    logging.getLogger("pydisque.dashboard").setLevel(logging.INFO)
    listener = _listener(host, port)
    bound, number = listener.getsockname()[:2]
    where = f"[{bound}]:{number}" if ":" in bound else f"{bound}:{number}"
    may = (
        "actions are allowed" if settings.actions else "read-only; --allow-actions lets people act"
    )
    config = uvicorn.Config(
        application(settings), log_config=None, access_log=False, server_header=False,
        proxy_headers=False, http=Protocol, timeout_graceful_shutdown=2, log_level="warning",
    )  # fmt: skip
    click.echo(f"dashboard: http://{where}/ ({may})")
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: sys.exit())  # uvicorn repeats them once it has ended
    systemd.notify("READY=1")
    uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or error
        raise click.ClickException(f"cannot listen on {host}:{port}: {reason}") from None
