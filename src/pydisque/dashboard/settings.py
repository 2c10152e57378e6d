"""What whoever starts the dashboard decides. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydisque.dashboard.auth import Door


@dataclass(frozen=True, slots=True)
class Settings:
    """How the dashboard is run."""

    nodes: tuple[str, ...]
    door: Door = field(default_factory=Door)
    actions: bool = False
    """Whether anything can be changed."""
    bodies: bool = True
    """Whether bodies are shown."""
    hosts: frozenset[str] = frozenset()
    """Names we go by beside ``localhost`` and addresses."""
