"""What a person does first: open the link, open the first notebook, run it all, look at the plot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import TOKEN, Lab
from playwright.sync_api import Browser, Page, expect

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOK = "notebooks/01_house_price.ipynb"
OPEN_MS = 60_000
RUN_ALL_MS = 120_000


@pytest.fixture
def page(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(OPEN_MS)
    return page


def test_without_the_token_there_is_only_a_login_page(page: Page, running: Lab) -> None:
    page.goto(running.url("lab"))
    expect(page.locator("#password_input")).to_be_visible()


def test_run_all_shows_no_error_and_the_plot(page: Page, running: Lab, screenshot: Path) -> None:
    page.goto(running.url(f"lab/tree/{NOTEBOOK}?token={TOKEN}"))
    notebook = page.locator(".jp-Notebook")
    expect(notebook).to_be_visible()
    # Before the kernel has its name, Run All asks which kernel is meant.
    expect(page.locator(".jp-StatusBar-Widget")).to_contain_text("Python 3 (ipykernel) | Idle")
    expect(page.locator(".jp-Toolbar-kernelName")).to_have_text("Python 3 (ipykernel)")

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    cells = json.loads((ROOT / NOTEBOOK).read_text())["cells"]
    count = sum(cell["cell_type"] == "code" for cell in cells)
    last = page.locator(".jp-CodeCell .jp-InputPrompt").last
    expect(last).to_have_text(f"[{count}]:", timeout=RUN_ALL_MS)  # a cell that fails keeps the last one unrun

    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
    plot = page.locator(".jp-OutputArea-output img").first
    plot.scroll_into_view_if_needed()
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.naturalWidth") > 500
    page.screenshot(path=screenshot)


def test_the_tensorboard_tile_is_in_the_launcher(page: Page, running: Lab) -> None:
    page.goto(running.url(f"lab?token={TOKEN}&reset"))
    expect(page.locator(".jp-LauncherCard", has_text="TensorBoard")).to_be_visible()
