"""The queues that the configuration of a Celery program in this process binds to an exchange.

So a producer knows the bindings of its own ``task_queues`` before any worker has declared them. A
program that uses kombu alone needs no Celery for this.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from kombu.common import Broadcast

from pydisque.adapters.kombu.wire import nodes_of_connection


def configured_queues(nodes: Sequence[str], exchange: str) -> list[Any]:
    """The queues that programs on these nodes bind to an exchange.

    A `Broadcast` is left out: each of its consumers declares a queue of its own.
    """
    return [
        queue
        for app in _apps(set(nodes))
        for queue in app.amqp.queues.values()
        if exchange in _exchanges_of(queue) and not isinstance(queue, Broadcast)
    ]


def _exchanges_of(queue: Any) -> set[str]:
    """All exchanges that a queue is bound to."""
    exchanges = [queue.exchange, *(each.exchange for each in queue.bindings)]
    return {each.name for each in exchanges if each is not None}


def _apps(nodes: set[str]) -> list[Any]:
    """The apps with a broker among these nodes; one without a configuration has sent nothing."""
    state = sys.modules.get("celery._state")
    if state is None:
        return []
    apps = [app for app in list(state._get_active_apps()) if app.configured]  # noqa: SLF001
    return [app for app in apps if nodes & _nodes_of(app)]


def _nodes_of(app: Any) -> set[str]:
    connections = app.connection_for_write(), app.connection_for_read()
    return {node for each in connections for node in nodes_of_connection(each)}
