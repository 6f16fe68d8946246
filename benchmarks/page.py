"""What the page weighs, how fast it answers, and what an attack leaves: `python -m benchmarks.page`.

A real server, a real Chromium. A gallery of 500 takes is 500 copies of one that was made, with markup in every text.
Times depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.table import heading
from tests.holocine_ext.studio.served import Served, served, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCRIPT = "<img src=x onerror=alert(1)><script>alert(1)</script>"
SHOTS = 13
UPLOAD = 2_000_000_000
SLOW_CLIENTS, SLOW_SECONDS = 90, 5.0
SIZES = """performance.getEntries().filter((one) => "transferSize" in one && !one.name.includes("/api/"))
  .map((one) => one.transferSize)"""
# Scrolls to the end in 60 jumps; the seconds of each until the next picture is drawn.
SCROLLED = """async () => {
  const found = [], drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  for (let i = 1; i <= 60; i++) {
    const begin = performance.now();
    window.scrollTo(0, document.body.scrollHeight * i / 60);
    await drawn();
    found.push(performance.now() - begin);
  }
  return found;
}"""


def weigh(page: Page, address: str) -> str:
    """How many bytes the page takes, and when its first board can be written."""
    page.goto(address)
    page.wait_for_selector("#shot-0")
    shown = page.evaluate("performance.now()")
    page.wait_for_selector("#plan dd")
    sizes = page.evaluate(SIZES)
    return f"{sum(sizes) / 1e3:.0f} KB in {len(sizes)} files; first board after {shown:.0f} ms"


def plan_answers(server: Served) -> str:
    """How long a plan of 13 shots takes to come, at the size of the real model without its files."""
    shots = [{"caption": f"Medium shot. A rider crosses the plain, number {number}."} for number in range(SHOTS)]
    document = {"global_caption": "Two riders cross a white salt desert.", "shots": shots, "num_frames": 241}
    found = []
    for number in range(30):
        begin = time.perf_counter()
        board = document | {"num_frames": 241 - 4 * (number % 2)}
        plan = server.ask(
            "POST", "/api/plan", {"name": "scene.json", "document": board, "settings": {"model": "holocine"}}
        )
        found.append(1e3 * (time.perf_counter() - begin))
        assert len(plan["shots"]) == SHOTS, plan
    return f"{median(found):.1f} ms median, {max(found):.1f} ms at most, of {len(found)} plans of {SHOTS} shots"


def fill_gallery(server: Served, count: int) -> None:
    """So many takes, all but the first copies of it."""
    (name,) = server.render(infer_steps=2)
    takes = server.folder / "takes"
    until(lambda: len(server.ask("GET", "/api/takes")["takes"]) == 1)
    record = json.loads((takes / f"{name}.json").read_text())
    for number in range(1, count):
        copy = f"copy-{number:03d}"
        for ending in (".mp4", "_sheet.png"):
            shutil.copy(takes / f"{name}{ending}", takes / f"{copy}{ending}")
        texts = {"captions": [SCRIPT] * len(record["captions"]), "title": SCRIPT}
        board = record["storyboard"] | {"source": SCRIPT, "global_caption": SCRIPT, "shot_captions": texts["captions"]}
        (takes / f"{copy}.json").write_text(json.dumps(record | texts | {"storyboard": board}))
    marks = {f"copy-{number:03d}": {"kept": True, "note": SCRIPT} for number in range(1, count)}
    (takes / "marks.json").write_text(json.dumps(marks))


def scroll(page: Page, address: str, count: int) -> str:
    """How a gallery of so many takes opens and scrolls."""
    page.goto(address)
    page.wait_for_selector(f".take:nth-child({count})")
    opened = page.evaluate("performance.now()")
    found = page.evaluate(SCROLLED)
    return f"{count} takes after {opened:.0f} ms, a jump in it after {median(found):.0f} ms, {max(found):.0f} at most"


def write_scripts(page: Page, server: Served) -> str:
    """Markup in every text field of the page; how much of it became more than text."""
    page.click("#cast summary")
    page.click("#add-character")
    fields = page.locator("textarea:visible, input[type=text]:visible, input:not([type]):visible")
    for number in range(fields.count()):
        fields.nth(number).fill(SCRIPT)
    until(lambda: SCRIPT in server.board()["document"]["global_caption"], 20)
    page.reload()
    page.wait_for_selector("#shot-0")
    ran = page.locator("img[src=x], body script:not([src])").count()
    return f"markup in {fields.count()} fields and in every record: {ran} became elements"


def upload(server: Served) -> str:
    """What an upload of 2 GB leaves."""
    with socket.create_connection(tuple(server.host.split(":"))) as client:
        head = f"POST /api/boards?name=a.json HTTP/1.1\r\nHost: {server.host}\r\nOrigin: http://{server.host}\r\n"
        client.sendall(f"{head}Sec-Fetch-Site: same-origin\r\nContent-Length: {UPLOAD}\r\n\r\n".encode())
        sent = 0
        with suppress(OSError):
            while sent < UPLOAD:
                sent += client.send(b" " * (1 << 20))
    return f"2 GB are cut off after {sent / 1e6:.0f} MB"


def slow_clients(server: Served) -> str:
    """How long an honest request takes while many others dawdle."""
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            client = stack.enter_context(socket.create_connection(tuple(server.host.split(":"))))
            client.sendall(b"PUT /api/boards/scene.json HTTP/1.1\r\nHost: ")
        time.sleep(SLOW_SECONDS)
        begin = time.perf_counter()
        server.ask("GET", "/api/film")
        return f"{SLOW_CLIENTS} that dawdle: an honest one waits {1e3 * (time.perf_counter() - begin):.0f} ms"


def rows(server: Served, page: Page, takes: int) -> Iterator[tuple[str, str]]:
    """The figures, one after the other."""
    memory = psutil.Process(server.process.pid).memory_info
    yield "page", weigh(page, server.address)
    yield "plan", plan_answers(server)
    fill_gallery(server, takes)
    yield "gallery", scroll(page, server.address, takes)
    yield "texts", write_scripts(page, server)
    yield "upload", upload(server)
    yield "clients", slow_clients(server)
    yield "server", f"{memory().rss / 1e6:.0f} MB of memory after all that"


def main() -> None:
    """Measure, and print a line for each figure."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--takes", type=int, default=500)
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    dialogs: list[Any] = []
    with ExitStack() as stack:
        server = stack.enter_context(served(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "film"))
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
        sys.stdout.write(heading("benchmarks.page", sys.argv[1:]))
        for name, said in rows(server, page, args.takes):
            sys.stdout.write(f"{name:<10} {said}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{'scripts':<10} {len(dialogs)} ran\n")


if __name__ == "__main__":
    main()
