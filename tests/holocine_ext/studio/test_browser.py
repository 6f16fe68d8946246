"""The page in a browser, as a person uses it: by pointer, by keyboard alone, in two tabs.

Needs Chromium: `apt-get install chromium`. Without it these tests are skipped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from tests.holocine_ext.studio.served import Served, served, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
SCRIPT = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "film") as server:
        yield server


@pytest.fixture
def page(browser: Browser, studio: Served) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = opened(context, studio)
    yield page
    context.close()


def opened(context: Any, studio: Served) -> Page:  # noqa: ANN401
    """A tab with the page, in which every error fails the test."""
    page: Page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.on("console", lambda said: pytest.fail(said.text) if "Content Security" in said.text else None)
    page.on("dialog", lambda _: pytest.fail("a script in a text ran"))
    page.goto(studio.address)
    page.wait_for_selector("#plan dd")
    return page


def board(studio: Served) -> dict[str, Any]:
    """The board on disk."""
    found: dict[str, Any] = json.loads((studio.folder / "scene.json").read_text(encoding="utf-8"))
    return found


def cuts(studio: Served) -> list[int | None]:
    return [shot.get("cut_frame") for shot in board(studio)["shots"]]


def drag(page: Page, handle: int, latents: int) -> None:
    """Drag the handle after a shot by so many latent frames."""
    box = page.locator(".handle").nth(handle).bounding_box()
    track = page.locator(".track").bounding_box()
    assert box and track
    total = (board_frames(page) + 3) // 4
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + latents * track["width"] / total, y, steps=5)
    page.mouse.up()


def becomes(page: Page, expression: str) -> None:
    """Wait until an expression is true. Playwright's own way of waiting is what the page's policy forbids: `eval`."""
    until(lambda: page.evaluate(expression), 30)


def board_frames(page: Page) -> int:
    return int(page.locator("#length").inner_text().split(", ")[1].split()[0])


def test_a_film_is_written_made_and_found_again(page: Page, studio: Served):
    page.fill("#shot-1", "Close-up of [character1] standing still at night.")
    drag(page, 0, 1)
    until(lambda: cuts(studio) == [None, 17, 21], 10)
    page.click("#undo")
    until(lambda: cuts(studio) == [None, 13, 21], 10)
    page.click("#redo")
    page.click("#ripple")
    drag(page, 1, 2)
    until(lambda: (cuts(studio), board(studio)["num_frames"]) == ([None, 17, 29], 41), 10)
    assert "41 frames" in page.locator("#plan").inner_text()
    page.fill("#setting-infer_steps", "5")
    page.locator("#setting-infer_steps").press("Enter")
    page.click("#render")
    page.wait_for_selector(".job.running .preview:not([hidden])", timeout=90_000)
    page.wait_for_selector(".take img", timeout=90_000)
    page.click(".take .sheet")
    becomes(page, "document.querySelector('#player video').currentTime > 0")
    page.click("#player .strip button:nth-child(3)")
    becomes(page, "document.querySelector('#player .now').textContent === '3'")
    page.keyboard.press("Escape")
    page.click(".take button:text('Keep')")
    page.wait_for_selector(".take.kept")
    change_shots(page, studio)
    page.reload()
    page.wait_for_selector(".take.kept")
    assert page.input_value("#shot-3").startswith("Wide shot") and page.input_value("#boards") == "scene-001.json"
    page.select_option("#boards", "scene.json")
    becomes(page, "document.querySelector('#shots').children.length === 3")
    becomes(page, "document.querySelector('#shots').children.length === 3")
    assert page.input_value("#shot-1").endswith("at night.") and page.input_value("#setting-infer_steps") == "5"
    assert board_frames(page) == 41


def change_shots(page: Page, studio: Served) -> None:
    """Hold two shots of a take, make the second anew and one more at the end: what is held is the same bytes."""
    page.click(".take button:text('Change shots')")
    page.wait_for_selector("#shots .hold:not([hidden])")
    page.select_option("#shots li:nth-child(2) select", "1")
    page.fill("#setting-seed", "99")
    page.locator("#setting-seed").press("Enter")
    page.click("#add-shot")
    page.fill("#shot-3", "Wide shot of [character1] moving left at night.")
    becomes(page, "document.querySelector('#plan').innerText.includes('57 frames')")
    page.click("#render")
    page.wait_for_selector(".take:nth-child(2)", timeout=90_000)
    old, new = (latents(studio, name) for name in ("scene-001", "scene-001-001"))
    same = [torch.equal(old[:, :, frame], new[:, :, frame]) for frame in range(11)]
    assert new.shape[2] == 15 and same == [True] * 5 + [False] * 3 + [True] * 3


def latents(studio: Served, name: str) -> torch.Tensor:
    return load_file(studio.folder / f"takes/{name}.safetensors")["latents"]


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until a part of the page has the focus."""
    for _ in range(200):
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not lead to {selector}")


def test_by_keyboard_alone(page: Page, studio: Served):
    tab_to(page, ".handle")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    until(lambda: (cuts(studio)[1], board(studio)["num_frames"]) == (21, 37), 10)
    tab_to(page, "#shots li:nth-child(3) button")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "shot-3"
    page.keyboard.type(" At night.")
    page.keyboard.press("Control+z")
    until(lambda: len(board(studio)["shots"]) == 4 and "At night" not in board(studio)["shots"][3]["caption"], 10)
    page.keyboard.press("Control+z")
    until(lambda: len(board(studio)["shots"]) == 3, 10)
    for label, value in (("Seed of shot 2", "5"), ("Guidance of shot 2", "2.5")):
        tab_to(page, f"[aria-label='{label}']")
        page.keyboard.type(f"{value}\n")
    until(lambda: {"seed": 5, "guidance_scale": 2.5}.items() <= board(studio)["shots"][1].items(), 10)
    tab_to(page, "#setting-infer_steps")
    page.keyboard.type("2\n")
    render_by_key(page, 1)
    tab_to(page, ".take .sheet")
    page.keyboard.press("Enter")
    becomes(page, "document.querySelector('#player video').currentTime > 0")
    page.keyboard.press("Escape")
    tab_to(page, ".take button[title^='A new board']")
    page.keyboard.press("Enter")
    page.wait_for_selector("#shots .hold:not([hidden])")
    tab_to(page, "#shots li:nth-child(2) select")
    page.keyboard.press("End")
    tab_to(page, "#setting-seed")
    page.keyboard.type("99\n")
    render_by_key(page, 2)
    old, new = (latents(studio, name) for name in ("scene-001", "scene-001-001"))
    same = [torch.equal(old[:, :, frame], new[:, :, frame]) for frame in range(10)]
    assert same == [True] * 6 + [False] + [True] * 3


def render_by_key(page: Page, takes: int) -> None:
    """Render what is shown; wait until there are so many takes."""
    becomes(page, "!document.querySelector('#render').disabled")
    tab_to(page, "#render")
    page.keyboard.press("Enter")
    page.wait_for_selector(f".take:nth-child({takes})", timeout=90_000)


def test_what_would_be_refused_stands_at_its_field(page: Page):
    page.fill("#shot-2", "A [shot cut] B")
    page.wait_for_selector("#shots li:nth-child(3) .problem:not([hidden])")
    assert "holds the tag [shot cut]" in page.locator("#shots li:nth-child(3) .problem").inner_text()
    assert page.is_disabled("#render")
    page.fill("#shot-2", SCRIPT)
    becomes(page, "!document.querySelector('#render').disabled")
    page.fill("#setting-width", "65")
    page.locator("#setting-width").press("Enter")
    page.wait_for_selector("#plan-problem:not([hidden]), .setting .problem:not([hidden])")


def test_two_tabs_and_an_editor_are_shown_side_by_side(page: Page, studio: Served):
    other = opened(page.context, studio)
    page.fill("#shot-0", "Wide shot by the first.")
    becomes(other, "document.querySelector('#shot-0').value.endsWith('the first.')")
    changed = board(studio) | {"seed": 99}
    page.evaluate("document.querySelector('#shot-1').value = 'typed'")
    with page.expect_response(lambda response: response.status == 409):
        (studio.folder / "scene.json").write_text(json.dumps(changed))
        page.locator("#shot-1").dispatch_event("input")
    page.wait_for_selector("#conflict[open]")
    assert "seed" in page.locator("#conflict").inner_text() and board(studio)["seed"] == 99
    page.click("#conflict button:text('Keep both')")
    until(lambda: (studio.folder / "scene mine.json").exists(), 10)
    mine = json.loads((studio.folder / "scene mine.json").read_text())
    assert (mine["shots"][1]["caption"], mine["seed"]) == ("typed", 7) and board(studio) == changed


def test_it_is_readable(browser: Browser, studio: Served):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for width, scheme in ((360, "light"), (360, "dark"), (1280, "dark"), (1920, "light")):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        page = opened(context, studio)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
        context.close()
