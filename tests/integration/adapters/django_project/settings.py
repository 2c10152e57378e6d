"""A project with tasks on Disque and a database in a file."""

from __future__ import annotations

import os

import django

SECRET_KEY = "none"  # it has nothing to keep
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["DATABASE"],
        "OPTIONS": {"timeout": 20},
    }
}
INSTALLED_APPS = ["pydisque.adapters.django", "shop"]
if django.VERSION < (6,):
    INSTALLED_APPS.append("django_tasks")
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
LOGGING_CONFIG = None
TASKS = {
    "default": {
        "BACKEND": "pydisque.adapters.django.DisqueBackend",
        "QUEUES": ["default", "reports"],
        "OPTIONS": {
            "nodes": [os.environ["DISQUE"]],
            "retry": 2,
            "handler": {"max_attempts": 3, "backoff": 1},
            "worker": {"concurrency": 1},
        },
    }
}
