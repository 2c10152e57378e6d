"""Work that keeps the processor busy, in processes: one that crashes is a failed attempt.

pydisque worker primes --concurrency 2 &
python primes.py 1000 100000 -1
"""

import os
import signal
import sys

from pydisque import Client, Worker, WorkerJob

worker = Worker(concurrency=2, executor="processes")


@worker.handler("primes", max_attempts=2, backoff=0, timeout=60)
def count_primes(job: WorkerJob) -> None:
    limit = int(job.body)
    if limit < 0:
        os.kill(os.getpid(), signal.SIGSEGV)  # a bug in native code
    sieve = bytearray([1]) * (limit + 1)
    for n in range(2, int(limit**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit + 1, n)))
    print(f"{sum(sieve[2:])} primes up to {limit}", flush=True)


if __name__ == "__main__":
    with Client() as client:
        client.add_jobs("primes", sys.argv[1:], retry=30)
