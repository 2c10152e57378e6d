"""A kombu transport, so that Celery runs on Disque: ``broker_url = "disque://localhost:7711"``.

See docs/celery.md.
"""

from pydisque.adapters import aliases  # for who imports this before kombu looks for serializers
from pydisque.adapters.kombu.transport import Transport

__all__ = ["Transport", "aliases"]
