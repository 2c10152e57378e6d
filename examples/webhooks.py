"""Webhooks, with asyncio: hundreds wait at once, and one that is told to wait comes again later.

    pydisque worker webhooks --http 127.0.0.1:9100 &
    python webhooks.py http://127.0.0.1:8000/hook

The network is left out here: `post` stands for the HTTP client of your choice.
"""

import asyncio
import sys

from pydisque import AsyncClient, Backoff, Retry, Worker, WorkerJob

worker = Worker(concurrency=200)


async def post(url: str, event: dict[str, str], key: str) -> int:
    """Stand for a real client; the key lets the other side drop what it has got already."""
    await asyncio.sleep(0.01)
    print(f"POST {url}: {event['event']}, Idempotency-Key: {key}", flush=True)
    return 200


@worker.handler("webhooks", max_attempts=12, timeout=30, backoff=Backoff(first=1, longest=3600))
async def deliver(job: WorkerJob) -> None:
    hook = job.json()
    status = await post(hook["url"], hook["event"], key=job.first_id)
    if status == 429:
        raise Retry(in_seconds=60)
    if status >= 400:
        raise RuntimeError(f"the receiver answered {status}")


async def main() -> None:
    """Tell each receiver of an event; many calls share one connection."""
    async with AsyncClient() as client:
        event = {"event": "order.paid"}
        hooks = [{"url": url, "event": event} for url in sys.argv[1:]]
        await asyncio.gather(*(client.add_json("webhooks", hook, retry=60) for hook in hooks))


if __name__ == "__main__":
    asyncio.run(main())
