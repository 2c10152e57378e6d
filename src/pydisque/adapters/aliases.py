"""Makes kombu, and so Celery, know what ``disque://`` means, wherever pydisque is installed.

kombu asks no package for transports, but for serializers: it loads their entry points before it
opens its first connection. This is one, and it has nothing to serialize.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

TRANSPORT = "pydisque.adapters.kombu:Transport"

TRANSPORT_ALIASES.setdefault("disque", TRANSPORT)
TRANSPORT_ALIASES.setdefault("disques", TRANSPORT)

serializer = (None, None, "application/x-disque")
"""What kombu registers under our name: a content type which nothing can write or read."""
