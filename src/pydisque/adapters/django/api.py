"""Django's tasks: its own since Django 6, before that those of the package django-tasks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import django

_ROOT = "django.tasks" if django.VERSION[0] >= 6 else "django_tasks"

_base: Any = import_module(f"{_ROOT}.base")
signals: Any = import_module(f"{_ROOT}.signals")
task_backends: Any = import_module(_ROOT).task_backends

Backend: Any = import_module(f"{_ROOT}.backends.base").BaseTaskBackend
Task: Any = _base.Task
TaskContext: Any = _base.TaskContext
TaskError: Any = _base.TaskError
TaskResult: Any = _base.TaskResult
TaskResultStatus: Any = _base.TaskResultStatus

if not hasattr(TaskResultStatus, "SUCCESSFUL"):  # or tasks would fail after they have run
    raise ImportError("this django-tasks is too old, 0.12 or later is needed")
