"""`pydisque demo`: see it work."""

from __future__ import annotations

import click


@click.command()
@click.option("--jobs", default=60, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--workers", default=3, show_default=True, type=click.IntRange(1, 64))
def demo(jobs: int, workers: int) -> None:
    """Start a node, add jobs, work on them, and say what happened.

    Some of the jobs are delayed, some fail the first time and come again.
    """
    from pydisque.demo import Demo  # noqa: PLC0415

    if not Demo(jobs, workers).run():
        raise click.ClickException("not every job was done: this should not happen")
