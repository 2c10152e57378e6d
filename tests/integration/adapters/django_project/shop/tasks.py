"""Tasks as a project has them; what they did stands in a file, too."""

from __future__ import annotations

import os
import time
from pathlib import Path

import django

from shop.models import Sale

if django.VERSION < (6,):
    from django_tasks import task
else:
    from django.tasks import task


def note(*words: object) -> None:
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


@task()
def sell(what: str, *, rush: bool = False) -> None:
    Sale.objects.create(what=what)
    note("sold", what, rush)


@task(takes_context=True, priority=50)
def fail(context, *, until: int) -> None:
    note("fail", context.attempt)
    if context.attempt < until:
        raise ValueError("not yet")


@task(queue_name="reports")
async def report() -> None:
    note("report", time.time())
