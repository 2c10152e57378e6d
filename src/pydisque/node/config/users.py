"""Who may log in: the user `default` with the node's password, and those of a users file.

Decides whether a name and a password belong together, in the same time for whatever is wrong.
Keeps digests, no passwords, and shows neither. What users may do is the command table's business.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydisque.service.log_limit import Seldom

DEFAULT = b"default"

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_WAYS = ("password", "password-sha256", "password-file")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in."""

    name: bytes
    digest: bytes = field(repr=False)
    admin: bool = False


class Users:
    """All who may log in to one node."""

    def __init__(self, password: bytes = b"", others: Iterable[User] = ()) -> None:
        """Know the password of `default`, empty for no such user, and the others."""
        self._users = {user.name: user for user in others}
        if password:
            self._users[DEFAULT] = User(DEFAULT, digest(password), admin=True)
        self._nobody = User(b"", secrets.token_bytes(32))
        self.wanted = bool(self._users)
        """Whether clients have to log in."""

    def __contains__(self, name: bytes) -> bool:
        return name in self._users

    def find(self, name: bytes, password: bytes) -> User | None:
        """The user of this name and password, at the same cost when there is none."""
        user = self._users.get(name, self._nobody)
        right = hmac.compare_digest(digest(password), user.digest)
        return user if right and user is not self._nobody else None


class Refusals:
    """Tells the log of failed attempts to log in, a line a second at most."""

    def __init__(self) -> None:
        self._warnings = Seldom()

    def note(self, now: int, address: bytes, name: bytes | None) -> None:
        """Note one, at a time in milliseconds; a name that is no user's may be a password."""
        who = f"user {name.decode(errors='replace')!r}" if name is not None else "an unknown user"
        self._warnings.warn(now, "wrong password from %s for %s", address.decode(), who)


def digest(password: bytes) -> bytes:
    """What is kept of a password."""
    return hashlib.sha256(password).digest()


def read_password(path: Path) -> bytes:
    """The password that a file holds, without its line end.

    Raises:
        ValueError: it cannot be read, or holds none.
    """
    try:
        password = path.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if not password:
        raise ValueError(f"{path} is empty; it must hold a password")
    return password


def load(path: Path) -> list[User]:
    """The users of a file: a table each, with its password in one of three ways.

    Raises:
        ValueError: what is wrong with the file; never quotes a password.
    """
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    if not tables:
        raise ValueError(f"{path} names no user")
    try:
        return [_user(name, table, path.parent) for name, table in tables.items()]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _user(name: str, table: object, folder: Path) -> User:
    if not isinstance(table, dict):
        raise ValueError(f"every user needs a table of its own, as in [{name}]")  # noqa: TRY004
    if name == DEFAULT.decode():
        raise ValueError("the user 'default' has its password by requirepass")
    if not name.isprintable() or not name or " " in name:
        raise ValueError(f"{name!r} is no name for a user")
    unknown = sorted(set(table) - {"admin", *_WAYS})
    if unknown:
        raise ValueError(f"user {name!r} has an unknown key {unknown[0]!r}")
    if not isinstance(table.get("admin", False), bool):
        raise ValueError(f"user {name!r}: admin must be true or false")  # noqa: TRY004
    return User(name.encode(), _digest(name, table, folder), table.get("admin", False))


def _digest(name: str, table: dict[str, object], folder: Path) -> bytes:
    match [(way, table[way]) for way in _WAYS if way in table]:
        case [(way, str(value))] if value:
            pass
        case [_]:
            raise ValueError(f"user {name!r}: the password must be text, and not empty")
        case _:
            raise ValueError(f"user {name!r} needs one of {', '.join(_WAYS)}, and only one")
    if way == "password":
        return digest(value.encode())
    if way == "password-file":
        return digest(read_password(folder / value))
    if not _DIGEST.fullmatch(value):
        raise ValueError(f"user {name!r}: password-sha256 must be 64 hexadecimal digits")
    return bytes.fromhex(value)
