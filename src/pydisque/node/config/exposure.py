"""On what conditions a node listens: TLS, protection from the world, room for its clients.

Reads the settings about it and says what is wrong with them. The sockets are the server's.
"""

from __future__ import annotations

import contextlib
import ipaddress
import resource
import ssl

from pydisque.node.config import tls
from pydisque.node.config.parameters import Config, SettingError
from pydisque.node.config.tls import CertificateError

RESERVED_FILES = 32
"""Open files that are no client's: sockets to listen on, the log, the journal."""


def hosts(config: Config) -> list[str]:
    """The TCP addresses to listen on; none with port -1."""
    return [] if config["port"] == "-1" else config["bind"].split(",")


def exposed(config: Config, password: str) -> list[str]:
    """With this password, the addresses that anybody could reach and do anything at."""
    if config["protected-mode"] == "no" or password or config["users"] or config["tls-ca"]:
        return []
    return [host for host in hosts(config) if not _is_loopback(host)]


def check_protection(config: Config) -> None:
    """Refuse to let the world in.

    Raises:
        ValueError: the node would listen beyond loopback, and want no password.
    """
    if found := exposed(config, config["requirepass"]):
        raise ValueError(
            f"protected mode: everybody who reaches {' or '.join(found)} could do anything; set "
            "requirepass or users, or want client certificates with tls-ca, or listen on loopback "
            "only (protected-mode no does without all this)"
        )


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach it; a name may mean anything, save one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def tls_context(config: Config) -> ssl.SSLContext | None:
    """How the TCP port speaks TLS; None when it does not.

    Raises:
        SettingError: a file is missing, or does not fit the others.
    """
    cert, key, ca = config["tls-cert"], config["tls-key"], config["tls-ca"]
    for name, value in (("tls-cert", cert), ("tls-key", key)):
        if (cert or key or ca) and not value:
            raise SettingError(name, "missing; TLS needs both tls-cert and tls-key")
    if not cert:
        return None
    try:
        return tls.for_server(cert, key, ca)
    except CertificateError as error:
        raise SettingError(f"tls-{error.role}", str(error)) from None


def room_for_clients(wanted: int) -> int:
    """Let this process open files for so many clients; returns how many it can have."""
    needed = wanted + RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    soft = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    with contextlib.suppress(ValueError, OSError):  # macOS has a bound of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, max(1, soft - RESERVED_FILES))
