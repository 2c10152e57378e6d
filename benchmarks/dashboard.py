"""How soon the dashboard's pages are seen in Chromium, and what looking costs a node.

The node is ours, in memory, in a process of its own, as is the dashboard. The time to the first
paint is what the browser measured; a page is opened anew each time, with nothing in its cache.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from playwright.sync_api import sync_playwright

from pydisque import Client
from pydisque.dashboard.poller import PATIENCE
from support import browsers
from support.dashboards import Dashboard
from support.servers import NodeProcess

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"

PAGES = {
    "overview": "/", "queues": "/queues", "queues, by name, page 100": "/queues?sort=name&page=100",
    "queue": "/queue/queue-00000", "queue, active jobs": "/queue/queue-00000?jobs=active",
    "nodes": "/nodes",
}  # fmt: skip

TIMES = 10

SECONDS = 15


def main() -> None:
    """Fill a node, open pages, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    given = parser.parse_args()
    with NodeProcess() as node:
        fill(node.address, given.queues, given.jobs // given.queues)
        with Dashboard([node.address]) as board, Client(node.address) as client:
            measure(board.url, client)


def fill(address: str, queues: int, each: int) -> None:
    """So many queues with so many jobs each."""
    with Client(address) as client:
        for n in range(queues):
            client.add_jobs(f"queue-{n:05}", ["x" * 50] * each)


def measure(url: str, client: Client) -> None:
    """Open each page some times."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browsers.CHROMIUM, args=browsers.FLAGS)
        for name, path in PAGES.items():
            paints = []
            for _ in range(TIMES):
                context = browser.new_context()
                page = context.new_page()
                page.goto(url + path)
                while not (paint := page.evaluate(PAINT)):
                    page.wait_for_timeout(10)
                paints.append(paint)
                context.close()
            middle, worst = statistics.median(paints), max(paints)
            print(f"{name:28} first paint {middle:5.0f} ms, at worst {worst:5.0f} ms")
        for watchers in (1, 5):
            pages = [browser.new_page() for _ in range(watchers)]
            for page in pages:
                page.goto(url)
            print(f"asked of the node with {watchers} pages open:", cost(client, SECONDS))
            for page in pages:
                page.close()
        browser.close()
    time.sleep(PATIENCE)
    print("asked of the node while nobody looks:", cost(client, 2 * SECONDS))


def cost(client: Client, seconds: float) -> str:
    """What the node was asked meanwhile, by command, each second."""
    before = counts(client)
    time.sleep(seconds)
    after = counts(client)
    more = {name: (n - before.get(name, 0)) / seconds for name, n in after.items()}
    return ", ".join(f"{name} {n:.1f}/s" for name, n in more.items() if n and name != "info")


def counts(client: Client) -> dict[str, int]:
    """Calls by command."""
    told = client.execute_command("INFO", "commandstats")
    return {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in told.items()}


if __name__ == "__main__":
    main()
