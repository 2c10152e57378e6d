"""Celery on pydisque's transport and node, with the settings it has on Redis' transport."""

from __future__ import annotations

from rivals import celery, setting
from rivals.celery import app, producer

__all__ = ["app", "producer"]

PACKAGES = (*celery.PACKAGES, "pydisque")

app.conf.broker_url = f"disque://127.0.0.1:{setting.PORT}/"


def work() -> None:
    celery.start("rivals.celery_on_disque")
