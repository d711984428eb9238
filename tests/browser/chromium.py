"""The address of an exporter -> its page in Debian's Chromium, with whatever the browser complained of.

async with started(binary) as browser, viewing(browser, "127.0.0.1:10065") as view: ...
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

BINARY = "chromium"
PATIENCE = 20_000.0  # milliseconds; only a failure waits so long
ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # which a container has no room for; nothing is loaded but our own page
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"viewport": {"width": 1680, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
expect.set_options(timeout=PATIENCE)


class View:
    """`complaints`: errors and warnings of the browser, what its policy has blocked among them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"a dialog: {dialog.message}"))

    def row(self, vm: str) -> Locator:
        return self.page.locator("tr.vm").filter(has=self.page.get_by_role("button", name=vm, exact=True))

    def cell(self, vm: str, column: str) -> Locator:
        return self.row(vm).locator(f"td.{column}")

    async def shows(self, *vms: str) -> None:
        """Wait until these VMs are to be seen, in this order."""
        await expect(self.page.locator("tr.vm:not([hidden]) .open")).to_have_text([*vms])

    async def barriers(self) -> str:
        """What axe-core finds that keeps people from using the page; "" where there is nothing."""
        result = await Axe().run(self.page)
        return str(result.generate_report()) if result.violations_count else ""

    async def measured(self, expression: str) -> Any:
        return await self.page.evaluate(expression)


@contextlib.asynccontextmanager
async def started(binary: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def viewing(
    browser: Browser, address: str, *, path: str = "/", init_script: str = "", **context: Any
) -> AsyncIterator[View]:
    """Inside, the page is open, with a profile of its own; `context` is Playwright's, by default a desktop."""
    page = await browser.new_page(**(DESKTOP | context))
    try:
        view = View(page)
        await page.add_init_script(init_script)
        await page.goto(f"http://{address}{path}")
        yield view
    finally:
        await page.close()
