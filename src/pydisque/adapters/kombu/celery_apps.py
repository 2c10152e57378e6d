"""What the transport has to know of the Celery apps in this process; all use of Celery is here.

A program that uses kombu alone need not have Celery installed, so it is never imported here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kombu.common import Broadcast

from pydisque.adapters.kombu.messages import nodes_of_connection


def configured(nodes: Sequence[str], exchange: str) -> list[Any]:
    """What the configurations of apps on these nodes declare of an exchange: queues.

    So a producer knows the bindings of its own ``task_queues`` before a worker has declared them.
    Of a `Broadcast` only the exchange: each of its consumers declares a queue of its own.
    """
    return [
        queue.exchange if isinstance(queue, Broadcast) else queue
        for app in _apps(set(nodes))
        for queue in app.amqp.queues.values()
        if exchange in _exchanges_of(queue)
    ]


def is_task(message: Mapping[str, Any]) -> bool:
    """Whether a message is a task, by the headers of version 2 of Celery's protocol."""
    return "task" in (message.get("headers") or {})


def in_a_task() -> bool:
    """Whether a task runs in this thread, also one that called another as a function."""
    state = sys.modules.get("celery._state")
    return state is not None and state.get_current_worker_task() is not None


def _exchanges_of(queue: Any) -> set[str]:
    """All exchanges that a queue is bound to."""
    exchanges = [queue.exchange, *(each.exchange for each in queue.bindings)]
    return {each.name for each in exchanges if each is not None}


def _apps(nodes: set[str]) -> list[Any]:
    """The apps with a broker among these nodes; one without a configuration has sent nothing."""
    return [app for app in _all_apps() if app.configured and nodes & _nodes_of(app)]


def _all_apps() -> list[Any]:
    state = sys.modules.get("celery._state")
    return list(state._get_active_apps()) if state is not None else []  # noqa: SLF001


def _nodes_of(app: Any) -> set[str]:
    connections = app.connection_for_write(), app.connection_for_read()
    return {node for each in connections for node in nodes_of_connection(each)}


def _after_fork() -> None:
    """Give the apps of a forked child another queue for ``rpc://`` results than their parent's.

    Its name is made of the process, but is remembered by app and backend, and the parent goes on
    consuming from it. Celery makes a new backend when the child first needs it.
    """
    for app in _all_apps():
        local = vars(app._local)  # noqa: SLF001
        local.pop("oid", None)
        if hasattr(type(local.get("backend")), "oid"):
            del local["backend"]


os.register_at_fork(after_in_child=_after_fork)
