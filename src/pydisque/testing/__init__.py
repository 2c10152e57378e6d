"""For tests of programs that use Disque: time that moves on command, handlers run in the test.

For any test framework; the pytest fixtures in `adapters.pytest_plugin` are made of it.
"""

from pydisque.testing.clock import Clock
from pydisque.testing.inline_worker import Ended, InlineWorker

__all__ = ["Clock", "Ended", "InlineWorker"]
