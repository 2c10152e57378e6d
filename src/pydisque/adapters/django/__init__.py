"""A backend for Django's tasks, and the worker that runs them.

::

    TASKS = {
        "default": {
            "BACKEND": "pydisque.adapters.django.DisqueBackend",
            "OPTIONS": {"nodes": ["localhost:7711"]},
        }
    }

See docs/django.md.
"""

from pydisque.adapters.django.backend import DisqueBackend

__all__ = ["DisqueBackend"]
