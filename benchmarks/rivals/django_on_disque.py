"""Django's tasks on our backend and node; the worker is ours, with four threads.

A task is acknowledged after it ran, and one of a dead worker is run again. Django has no broker of
its own to compare with.
"""

from __future__ import annotations

import django
from django.conf import settings

from rivals import setting
from rivals.cells import hit

PACKAGES = ("django", "django-tasks", "pydisque")

settings.configure(
    INSTALLED_APPS=["pydisque.adapters.django"],
    TASKS={
        "default": {
            "BACKEND": "pydisque.adapters.django.DisqueBackend",
            "OPTIONS": {"nodes": [f"127.0.0.1:{setting.PORT or 7711}"]},
        }
    },
    USE_TZ=True,
)
django.setup()

from django_tasks import task, task_backends  # noqa: E402 - they want the settings

from pydisque.adapters.django.worker import TaskWorker  # noqa: E402


@task()
def job(number: int) -> None:
    hit(number)


def producer():
    return job.enqueue


def work() -> None:
    TaskWorker(task_backends["default"], concurrency=4).run()
