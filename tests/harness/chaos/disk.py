"""What a disk holds after the plug was pulled: of what was not synced, any part.

Follows the log that the preloaded library writes (see faults.c). Sectors may be old or new each for
itself, in between, or torn; the size may be any that the file had. What was synced stays.
"""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random
from typing import NamedTuple

SECTOR = 512
FILES = ("journal.db", "journal.db-wal", "journal.db-journal")
"""In the order of their numbers in the log."""

_ENTRY = struct.Struct("=IIQQ")
_WRITE, _TRUNCATE, _SYNC = range(3)


class Change(NamedTuple):
    """Something done to a file and not synced: data written, or for None a new size."""

    number: int
    """Its entry in the log of this life of the node; -1 for an earlier life."""
    place: int
    data: bytes | None

    def apply(self, content: bytearray) -> tuple[int, int]:
        """Do it; what it concerned, as a start and an end."""
        size = len(content)
        if self.data is None:
            content[self.place :] = bytes(max(0, self.place - size))
            return min(size, self.place), max(size, self.place)
        content += bytes(max(0, self.place - size))
        end = self.place + len(self.data)
        content[self.place : end] = self.data
        return min(size, self.place), end


class Disk:
    """The files of one journal, as the disk has them and as the system shows them."""

    def __init__(self, folder: Path) -> None:
        self._files = [folder / name for name in FILES]
        self._shared = folder / "journal.db-shm"
        self._synced = [bytearray() for _ in FILES]
        self._unsynced: list[list[Change]] = [[] for _ in FILES]
        self.settle()

    def settle(self) -> None:
        """Take what the files hold for what is on the disk: the node ended in order."""
        for number, file in enumerate(self._files):
            self._synced[number] = bytearray(file.read_bytes() if file.exists() else b"")
            self._unsynced[number] = []

    def follow(self, log: Path) -> None:
        """Take in what the node did in a life that is over: it was killed."""
        data = log.read_bytes() if log.exists() else b""
        at = number = 0
        while at + _ENTRY.size <= len(data):
            kind, file, place, length = _ENTRY.unpack_from(data, at)
            at += _ENTRY.size
            if kind == _SYNC:
                self._sync(file, place)
            else:
                what = data[at : at + length] if kind == _WRITE else None
                self._unsynced[file].append(Change(number, place, what))
                at += length
            number += 1
        for file in range(len(FILES)):
            self._settle_last(file)

    def _sync(self, file: int, covered: int) -> None:
        left = []
        for change in self._unsynced[file]:
            if change.number < covered:
                change.apply(self._synced[file])
            else:
                left.append(change)
        self._unsynced[file] = left

    def _settle_last(self, file: int) -> None:
        """The log is a step ahead of the file when the kill came in between."""
        changes = self._unsynced[file]
        path = self._files[file]
        if not path.exists():
            self._synced[file].clear()
            changes.clear()
            return
        if changes and changes[-1].data is not None:
            number, place, data = changes.pop()
            with path.open("rb") as there:
                there.seek(place)
                changes.append(Change(number, place, there.read(len(data or b""))))
        changes[:] = [change._replace(number=-1) for change in changes]
        size = path.stat().st_size
        if changes and changes[-1].data is None and changes[-1].place != size:
            changes.pop()

    def unsynced(self) -> int:
        """How many changes may get lost now."""
        return sum(map(len, self._unsynced))

    def pull_plug(self, random: Random) -> None:
        """Leave in the files what the disk may hold."""
        for file, path in enumerate(self._files):
            if path.exists():
                path.write_bytes(held(bytes(self._synced[file]), self._unsynced[file], random))
        self._shared.unlink(missing_ok=True)
        self.settle()


def held(synced: bytes, unsynced: list[Change], random: Random) -> bytes:
    """What may be there of a file."""
    manner = random.choice(("nothing", "all", "first", "first", "some", "some", "some"))
    if manner == "nothing":
        return synced
    if manner == "some":
        return _some(synced, unsynced, random)
    content = bytearray(synced)
    most = len(unsynced) if manner == "all" else random.randint(0, len(unsynced))
    for change in unsynced[:most]:
        change.apply(content)
    if most < len(unsynced) and (data := unsynced[most].data):
        unsynced[most]._replace(data=data[: random.randrange(len(data))]).apply(content)
    return bytes(content)


def _some(synced: bytes, unsynced: list[Change], random: Random) -> bytes:
    """Each sector for itself as it was at some moment, or torn between two."""
    content = bytearray(synced)
    sizes = [len(content)]
    versions: dict[int, list[bytes]] = {}
    for change in unsynced:
        start, end = change.apply(content)
        sizes.append(len(content))
        for sector in range(start // SECTOR, -(-end // SECTOR)):
            known = versions.setdefault(sector, [_sector(synced, sector)])
            known.append(_sector(content, sector))
    size = random.choice(sizes)
    result = bytearray(synced[:size].ljust(size, b"\0"))
    newest = random.random()
    for sector, known in versions.items():
        kept = known[-1] if random.random() < newest else random.choice(known)
        if random.random() < 0.1:
            torn = random.randrange(SECTOR)
            kept = kept[:torn] + random.choice(known)[torn:]
        result[sector * SECTOR : (sector + 1) * SECTOR] = kept
    return bytes(result[:size])


def _sector(content: bytes | bytearray, number: int) -> bytes:
    return bytes(content[number * SECTOR : (number + 1) * SECTOR]).ljust(SECTOR, b"\0")
