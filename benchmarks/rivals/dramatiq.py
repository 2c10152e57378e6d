"""Dramatiq.

One process (its default is one per core), 16 threads and 200 messages prefetched by the variable
Dramatiq has for that: with the defaults, 8 and two per thread, its broker waits between fetches and
no more than 2,000 jobs a second are done. Messages are acknowledged after the job, and those of a
dead worker are put back. The broker polls: with an empty queue less and less often, which is what
the idle latency shows; there is no setting for that.
"""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from rivals import setting
from rivals.cells import hit

PACKAGES = ("dramatiq", "redis", "hiredis")

broker = RedisBroker(url=setting.URL)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench")
def job(number: int) -> None:
    hit(number)


def producer():
    return job.send


def work() -> None:
    os.environ.setdefault("dramatiq_queue_prefetch", "200")
    options = ("--processes", "1", "--threads", str(setting.concurrency(16)))
    setting.become("dramatiq", "rivals.dramatiq:broker", *options)
