"""Takes the pictures of the README from a running demo, whatever model it serves.

    python -m tests.browser.screenshot [URL NAME PASSWORD OUT]

OUT gets the light picture; the dark one lies beside it, with `-dark` in its name.
"""

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser.chromium import ColorScheme, chromium, desk, sign_in

_ADULT = 40
_DEFAULTS = ("http://127.0.0.1:8321", "demo", "demo", "docs/review-page.png")


def take(browser: Browser, base_url: str, name: str, password: str, out: Path) -> list[Path]:
    """Open the first review that has an answer, claim it, and take both pictures."""
    schemes: tuple[ColorScheme, ...] = ("light", "dark")
    paths = (out, out.with_stem(f"{out.stem}-dark"))
    return [
        _take(browser, scheme, base_url, name, password, path)
        for scheme, path in zip(schemes, paths, strict=True)
    ]


def _take(
    browser: Browser, scheme: ColorScheme, base_url: str, name: str, password: str, out: Path
) -> Path:
    context = desk(browser, scheme)
    try:
        page = context.new_page()
        sign_in(page, base_url, name, password)
        show_an_answer(page)
        out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(out))
    finally:
        context.close()
    return out


def show_an_answer(page: Page) -> None:
    """Open an adult of high risk, claimed, with the timeline drawn and a verdict chosen.

    An adult has more on record, and so more to see, than a child.
    """
    ages = page.locator(".line-who").all_text_contents()
    adults = [i for i, text in enumerate(ages) if text[3:].isdigit() and int(text[3:]) >= _ADULT]
    page.locator(".line").nth(adults[0] if adults else 0).click()
    page.locator(".timeline").wait_for()
    claim = page.get_by_role("button", name="Claim")
    if claim.count():
        claim.click()
    page.get_by_role("button", name="Release").wait_for()
    page.locator("body").press("1")
    page.locator(".history li").first.wait_for()
    page.locator(".line[aria-current]", has_text="yours").wait_for()
    page.evaluate("document.fonts.ready")
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)


if __name__ == "__main__":
    given = tuple(sys.argv[1:]) + _DEFAULTS[len(sys.argv) - 1 :]
    with chromium() as started:
        for picture in take(started, given[0], given[1], given[2], Path(given[3])):
            print(picture)
