"""On what conditions a node listens: who could reach it, and how many clients it has room for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pydisque.node.config import exposure
from pydisque.node.config.parameters import Config


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.5.5.5", "::1", "localhost", "127.0.0.1,::1"])
def test_loopback_needs_no_password(bind: str) -> None:
    """What only this machine can reach is not exposed."""
    exposure.check_protection(Config(bind=bind))


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.1.2.3", "example.org", "0", "127.0.0.1,::"])
def test_the_world_needs_one(bind: str) -> None:
    """Beyond loopback one of the ways out has to be taken, or protected mode be left."""
    with pytest.raises(ValueError, match=r"protected mode: .*requirepass.*tls-ca.*loopback"):
        exposure.check_protection(Config(bind=bind))
    for way in ("requirepass", "users", "tls_ca"):
        exposure.check_protection(Config(bind=bind, **{way: "x"}))
    exposure.check_protection(Config(bind=bind, protected_mode="no"))
    exposure.check_protection(Config(bind=bind, port="-1"))


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "room", "after"),
    [
        (64, 4096, 1000, 1000, 1000 + exposure.RESERVED_FILES),
        (64, 128, 1000, 128 - exposure.RESERVED_FILES, 128),
        (4096, 4096, 1000, 1000, 4096),
        (20, 20, 1000, 1, 20),
    ],
)
def test_room_for_clients(soft: int, hard: int, wanted: int, room: int, after: int) -> None:
    """The soft limit is raised as far as it is needed and allowed, and never lowered."""
    code = (
        "import resource as r\nfrom pydisque.node.config.exposure import room_for_clients\n"
        f"r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        f"print(room_for_clients({wanted}), *r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(room), str(after), str(hard)]
