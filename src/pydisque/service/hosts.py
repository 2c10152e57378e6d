"""Which names an HTTP server of ours is called by: the defence against DNS rebinding. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

_HOST = re.compile(r"(\[(?P<ip6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(:\d{1,5})?")


def host_is_ours(header: str, names: Collection[str]) -> bool:
    """Whether the Host of a request is an address, ``localhost`` or one of these names.

    The page of an attacker can make a name of its own resolve to our address, but no address and
    not ``localhost``. What is more than a host and a port is none.
    """
    found = _HOST.fullmatch(header)
    if found is None:
        return False
    host = (found["ip6"] or found["name"]).lower()
    if host == "localhost" or host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
