"""Mail from a queue, with threads: attempts that fail are made again, later and later.

Start a node and a worker, then add some mail:

    pydisque serve --data :memory: &
    pydisque worker mail &
    python mail.py ada@example.org grace@example.org nobody

"nobody" is no address, so that job ends as a dead letter: see `pydisque dead list`.
"""

import sys

from pydisque import Client, Dead, Worker, WorkerJob

worker = Worker(concurrency=8)  # the nodes are those of DISQUE_NODES, or localhost:7711


@worker.handler("mail", max_attempts=5)
def send(job: WorkerJob) -> None:
    mail = job.json()
    if "@" not in mail["to"]:
        raise Dead(f"{mail['to']!r} is no address")
    print(f"to {mail['to']}: {mail['subject']} (attempt {job.attempt})", flush=True)


if __name__ == "__main__":
    with Client() as client:
        for address in sys.argv[1:]:
            client.add_json("mail", {"to": address, "subject": "Hello"}, retry=60)
