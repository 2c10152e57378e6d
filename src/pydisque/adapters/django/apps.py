"""What ``INSTALLED_APPS`` needs of us, so that ``manage.py`` has the command."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig

_Base: Any = AppConfig


class PydisqueConfig(_Base):
    """The app."""

    name = "pydisque.adapters.django"
    label = "pydisque"
