"""`pydisque top`: a whole system, live on a terminal, or once for a pipe.

What is looked at is decided by `model`, drawn by `rendering`, and kept going by `live`; those, and
what they need, are loaded when the command runs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from pydisque.cli.options.nodes import EXIT_CODES, SILENT, errors_told, to_ask
from pydisque.cli.options.parameters import Seconds, as_json
from pydisque.cli.output.formatting import print_json, text_or_base64
from pydisque.cli.output.tables import Table
from pydisque.cli.top.sort_keys import SORTS

if TYPE_CHECKING:
    from pydisque.cli.top.state import State
    from pydisque.monitoring.figures import QueueFigures

# Seconds from the first look of --once to the second, of which its rates are; and from the end of
# the first one, which may take long.
MOMENT, AT_LEAST = 0.3, 0.1


@click.command(epilog=EXIT_CODES)
@click.option(
    "--interval", metavar="S", default=2.0, show_default=True, type=Seconds(0.1),
    help="Seconds between two looks.",
)  # fmt: skip
@click.option(
    "--sort", type=click.Choice(SORTS), default="len", show_default=True,
    help="Names go up, numbers go down.",
)  # fmt: skip
@click.option(
    "--filter", "pattern", metavar="PATTERN", default="",
    help='Only queues with this in their names, or like "mail-*".',
)  # fmt: skip
@click.option("--once", is_flag=True, help="A table, once; as is done without a terminal.")
@click.option(
    "--limit", metavar="N", default=100, show_default=True, type=click.IntRange(1, 100_000),
    help="At most so many queues in the table.",
)  # fmt: skip
@as_json
@to_ask
def top(
    interval: float,
    sort: str,
    pattern: str,
    once: bool,
    limit: int,
    as_json: bool,
    nodes: tuple[str, ...],
) -> None:
    """Watch queues, jobs and nodes live; `?` tells the keys.

    All nodes of the cluster are asked, and numbers are theirs together. However many queues there
    are, a look asks for those on the screen, the busiest, and some more in turn; all are asked for
    at first, up to 10000. When no node answers any more it waits until one does.

    \b
    Examples:
      pydisque top
      pydisque top --sort in --filter "mail-*"
      pydisque top --once --json | jq -r 'select(.blocked == 0) | .name'
    """  # noqa: D301
    from pydisque.cli.top import app, terminal  # noqa: PLC0415
    from pydisque.cli.top.state import State  # noqa: PLC0415

    logging.getLogger("pydisque").addHandler(SILENT)
    state = State(sort=sort, pattern=pattern)
    with errors_told():
        if once or as_json or not terminal.is_there():
            queues = asyncio.run(_seen(nodes, state, limit))
        else:
            asyncio.run(app.watch(nodes, state, interval))
            return
    if as_json:
        print_json(map(_as_dict, queues[:limit]))
    elif queues:
        _print(queues[:limit])
    else:
        click.echo("no queues")
    if len(queues) > limit:
        click.echo("and more: see --limit", err=True)


async def _seen(nodes: tuple[str, ...], state: State, limit: int) -> list[QueueFigures]:
    """The queues that are wanted, in their order; all were looked at, and those told of twice."""
    from pydisque.cli.top.state import Scene, chosen_queues  # noqa: PLC0415
    from pydisque.monitoring.monitor import Survey  # noqa: PLC0415

    survey, started = Survey(nodes, room=sys.maxsize), time.monotonic()  # to choose among all
    try:
        while not survey.complete:
            await survey.look()
        queues = chosen_queues(state, Scene(survey.queues))
        # Whoever wants the quickest wants to know all rates.
        some = queues if state.sort in ("in", "out") else queues[:limit]
        survey.watched = {queue.name for queue in some}
        await asyncio.sleep(max(started + MOMENT - time.monotonic(), AT_LEAST))
        await survey.look()
        queues = chosen_queues(state, Scene(survey.queues))[: limit + 1]
        await survey.ask_oldest(queue.name for queue in queues)
        return queues
    finally:
        await survey.aclose()


_FIGURES = (
    "len", "in_rate", "out_rate", "active", "delayed", "blocked", "oldest", "age", "idle",
    "jobs_in", "jobs_out", "import_rate", "import_from",
)  # fmt: skip


def _as_dict(queue: QueueFigures) -> dict[str, Any]:
    figures = {name: getattr(queue, name) for name in _FIGURES}
    return text_or_base64("name", queue.name) | figures | {"pause": queue.pause.decode()}


def _print(queues: list[QueueFigures]) -> None:
    from pydisque.cli.top.columns import QUEUES, TREND  # noqa: PLC0415

    columns = [column for column in QUEUES if column.key != TREND]
    numbers = [column.title for column in columns if not column.left]
    titles = [column.title for column in columns]
    table = Table(titles, numbers=numbers, cut=titles[:1])
    table.print([column.text(column.value(queue)) for column in columns] for queue in queues)
