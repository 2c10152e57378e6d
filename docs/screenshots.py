"""Pictures of the dashboard for its page in the docs: a node with some traffic, in Chromium.

Run by `make screenshots`; needs Debian's `chromium`. Look at what comes of it.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from PIL import Image
from playwright.sync_api import sync_playwright

from pydisque import Client
from pydisque.dead_letters import DeadLetter
from pydisque.node import Server
from support.browsers import CHROMIUM, FLAGS
from support.dashboards import Dashboard

IMAGES = Path(__file__).parent / "images"

LOOKS = {
    "desktop": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "phone": {
        "viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "device_scale_factor": 2,
    },
}  # fmt: skip

TRAFFIC = {
    "emails": 24, "thumbnails": 61, "invoices": 4, "webhooks:retry": 9, "search-index": 37,
    "reports.daily": 1, "sms": 3, "payouts": 2,
}  # fmt: skip
"""Jobs a second, more or less."""

SECONDS = 75
"""For which there is traffic before the first picture, so that charts have something to show."""

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/jobs.py", line 88, in charge
    payment = gateway.charge(order.card, order.total)
  File "/srv/shop/gateway.py", line 41, in charge
    raise CardDeclined(reply["reason"])
shop.gateway.CardDeclined: insufficient funds
"""


def fill(address: str) -> None:
    """What lies there when the traffic begins."""
    with Client(address) as client:
        for queue, count in (("emails", 130), ("thumbnails", 900), ("reports.daily", 12)):
            client.add_jobs(queue, [body(queue, n) for n in range(count)])
        client.add_json("orders", json.loads(body("orders", 7)), delay=7200)
        client.add_jobs("reports.daily", ["nightly"] * 40, delay=3600)
        for n, error in enumerate(("CardDeclined: insufficient funds", "TimeoutError: 30 s") * 3):
            letter = DeadLetter(
                "charges", "D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1", 3 + n % 2, n % 3, error,
                TRACEBACK, f"2026-03-0{n + 1}T09:2{n}:07+00:00", body("charges", n).encode(),
            )  # fmt: skip
            client.add_job("charges:dead", letter.to_body())
        client.pause("sms", kw_out=True)


def body(queue: str, n: int) -> str:
    """Some job."""
    return json.dumps({
        "kind": queue, "order": 48_000 + n, "to": "ada@example.org",
        "lines": [{"sku": "A-113", "count": 2}, {"sku": "B-7", "count": 1}], "express": n % 3 == 0,
    })  # fmt: skip


def produce(address: str, stop: threading.Event) -> None:
    """Add jobs, in waves."""
    with Client(address) as client:
        n = 0
        while not stop.wait(0.5):
            n += 1
            wave = 1 + 0.5 * random.random() + (0.8 if n % 60 > 40 else 0)
            for queue, pace in TRAFFIC.items():
                count = int(pace * wave / 2 + random.random())
                client.add_jobs(queue, [body(queue, n * 100 + i) for i in range(count)], retry=600)


def consume(address: str, stop: threading.Event) -> None:
    """Take jobs, and be done with most of them."""
    with Client(address) as client:
        while not stop.is_set():
            for job in client.get_jobs(list(TRAFFIC), count=22, timeout=200):
                fate = random.random()
                if fate < 0.97:
                    job.ack()
                elif fate < 0.99:
                    job.nack()
            stop.wait(0.13)


def save(picture: bytes, path: Path) -> None:
    """A PNG of few colours, which is small."""
    image = Image.open(BytesIO(picture)).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    sys.stdout.write(f"{path.name}: {path.stat().st_size // 1024} KiB\n")


def main() -> None:
    """Take them all."""
    IMAGES.mkdir(exist_ok=True)
    stop = threading.Event()
    with (
        Server() as node,
        Dashboard([node.address], "--allow-actions", "--token", "x" * 20) as board,
    ):
        fill(node.address)
        for work in (produce, consume):
            threading.Thread(target=work, args=(node.address, stop), daemon=True).start()
        with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
            for look, settings in LOOKS.items():
                context = playwright.chromium.launch_persistent_context(
                    f"{folder}/{look}", executable_path=CHROMIUM, args=FLAGS, **settings
                )
                page = context.new_page()
                page.goto(f"{board.url}/")
                save(page.screenshot(), IMAGES / f"dashboard-login-{look}.png")
                page.get_by_label("Token").fill("x" * 20)
                page.keyboard.press("Enter")
                page.wait_for_url(f"{board.url}/")
                if look == "desktop":
                    time.sleep(SECONDS)
                with Client(node.address) as client:
                    job = next(client.iter_jobs("orders", state="active")).decode()
                    letter = client.qpeek("charges:dead", 1)[0].id.decode()
                for name, path in (
                    ("overview", "/"), ("queues", "/queues"), ("queue", "/queue/emails"),
                    ("job", f"/search?q={job.replace('+', '%2b')}"), ("dead", "/dead"),
                    ("letters", "/dead/charges:dead"), ("nodes", "/nodes"),
                    ("letter", f"/search?q={letter.replace('+', '%2b')}"),
                ):  # fmt: skip
                    page.goto(board.url + path)
                    page.wait_for_load_state("networkidle")
                    save(page.screenshot(), IMAGES / f"dashboard-{name}-{look}.png")
                context.close()
        stop.set()


if __name__ == "__main__":
    main()
