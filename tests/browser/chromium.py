"""A real Chromium, and what it was seen to do: requests, violations, errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

EXECUTABLES = (Path("/usr/bin/chromium"), Path("/usr/bin/chromium-browser"))
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ColorScheme = Literal["light", "dark"]


def executable() -> Path | None:
    """Where Chromium is, if it is installed."""
    return next((path for path in EXECUTABLES if path.exists()), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser, closed at the end."""
    found = executable()
    assert found is not None, "Chromium is not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(found), args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Witness:
    """What a page did that matters; `complaints` are console errors, exceptions and violations."""

    origin: str
    strangers: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Begin to listen."""
        page.on("request", self._requested)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda line: (
                self.complaints.append(line.text) if line.type in {"error", "warning"} else None
            ),
        )

    def _requested(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" != self.origin and parts.scheme != "data":
            self.strangers.append(request.url)


def desk(
    browser: Browser, color_scheme: ColorScheme = "light", height: int = 1440
) -> BrowserContext:
    """A window of the size of a desk monitor."""
    return browser.new_context(
        viewport={"width": 1680, "height": height},
        color_scheme=color_scheme,
        locale="en-GB",
        timezone_id="Europe/Paris",
    )


def sign_in(page: Page, base_url: str, name: str, password: str) -> None:
    """Sign in and wait for the worklist."""
    page.goto(base_url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.locator(".lines .line, .worklist .empty").first.wait_for()
