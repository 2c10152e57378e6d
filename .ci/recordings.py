"""Replay recordings of a real Disque server against this node: in memory, durable, on a Valkey.

Takes the checker and the folder.
Every step has to pass save those on our list of differences (docs/differences.md): of a recording
that meets one, the steps that do are left out of a copy and the rest is replayed.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pydisque.node import Server

# Sent words, or their beginning, whose answer differs on purpose.
DIFFERENCES = (
    ["HELLO", "2"],
    ["HELLO", "3"],
    ["CLIENT", "SETINFO"],
    ["CLIENT", "ID"],
    ["COMMAND", "DOCS"],
    ["AUTH", "user"],
)
# Recordings about a difference as a whole, and accidents nobody relies on.
LEFT_OUT = {
    "32-retry-counts-from-queueing": "the retry clock starts at delivery",
    "63-quirks": "a lone LF ends an inline command and nothing more",
}


def differs(step: dict[str, object]) -> bool:
    """Whether this step meets a difference."""
    sent = step.get("send")
    return isinstance(sent, list) and any(sent[: len(words)] == words for words in DIFFERENCES)


def main(checker: str, folder: str) -> int:
    """Replay the folder; the exit code of the checker."""
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as data:
        for recording in sorted(Path(folder).glob("*.jsonl")):
            if recording.stem in LEFT_OUT:
                print(f"left  {recording.stem}: {LEFT_OUT[recording.stem]}", flush=True)
                continue
            lines = recording.read_text(encoding="utf-8").splitlines()
            steps = [line for line in lines if line.strip() and not differs(json.loads(line))]
            if len(steps) != len(lines):
                left = len(lines) - len(steps)
                print(f"part  {recording.stem}: {left} steps differ on purpose", flush=True)
            Path(kept, recording.name).write_text("\n".join(steps) + "\n", encoding="utf-8")
        failed = 0
        os.environ["XDG_DATA_HOME"] = data  # where the Valkey of a node's own keeps its files
        for options in ({}, {"data": data, "durability": "always"}, {"store": "valkey"}):
            with Server(**options) as server:
                print(f"on a node with {options or 'its jobs in memory'}", flush=True)
                replay = [sys.executable, checker, server.address, kept]
                failed |= subprocess.run(replay, check=False).returncode
        return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
