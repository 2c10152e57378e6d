"""Enqueues what the test wants, as views would, and prints what it was told."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from functools import partial

import django
from django.db import transaction
from django.utils import timezone

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from shop.models import Sale  # noqa: E402
from shop.tasks import fail, report, sell  # noqa: E402


def roll_back() -> None:
    with transaction.atomic():
        Sale.objects.create(what="never")
        transaction.on_commit(partial(sell.enqueue, "never"))
        transaction.set_rollback(True)


sell.using(priority=-1).enqueue("last")
sell.enqueue("first", rush=True)
fail.enqueue(until=2)
fail.enqueue(until=9)
report.using(run_after=timezone.now() + timedelta(seconds=2)).enqueue()
roll_back()
with transaction.atomic():
    transaction.on_commit(partial(sell.enqueue, "committed"))
result = asyncio.run(sell.aenqueue("awaited"))
sys.stdout.write(f"{result.id} {result.status} {result.enqueued_at is not None}\n")
