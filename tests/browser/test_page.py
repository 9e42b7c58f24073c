"""The review page in a real Chromium: the whole task, by hand and by keyboard, and nothing untoward."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from clinical.review.review import ReviewState
from clinical.services.ports import WorklistQuery
from tests.browser.chromium import ColorScheme, Witness, desk, sign_in
from tests.browser.conftest import NAME, PASSWORD, Desk
from tests.browser.screenshot import show_an_answer, take

pytestmark = [pytest.mark.browser, pytest.mark.integration]


@pytest.fixture
def witness(desk_of_anna: Desk) -> Witness:
    return Witness(desk_of_anna.address)


@pytest.fixture
def page(browser: Browser, witness: Witness) -> Page:
    context = desk(browser)
    page = context.new_page()
    page.set_default_timeout(15_000)
    witness.watch(page)
    return page


def signed(desk_of_anna: Desk) -> int:
    with desk_of_anna.deps.open_unit_of_work() as uow:
        return uow.reviews.count(WorklistQuery(states=frozenset({ReviewState.SIGNED})))


def test_a_clinician_signs_in_claims_decides_and_sees_it_signed(
    desk_of_anna: Desk, page: Page, witness: Witness
) -> None:
    sign_in(page, desk_of_anna.address, NAME, PASSWORD)
    expect(page.locator(".line")).to_have_count(5)
    page.locator(".line").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(", ")
    expect(page.locator("#sign")).to_be_disabled()
    page.get_by_role("button", name="Claim").click()
    expect(page.locator(".claim")).to_contain_text("Yours for 14:")
    page.get_by_text("Agree, with changes").click()
    page.get_by_text("data missing").click()
    page.get_by_label("Note").fill("A note with <b>markup</b> & quotes “ ”")
    page.get_by_role("button", name="Sign as Dr Anna Lindqvist").click()
    expect(page.locator(".decided")).to_contain_text("Agree, with changes")
    expect(page.locator(".decided")).to_contain_text("<b>markup</b>")
    expect(page.locator(".claim")).to_contain_text("Signed")
    expect(page.locator(".history")).to_contain_text("signed anna")
    expect(page.locator(".line")).to_have_count(4)
    assert signed(desk_of_anna) == 1
    assert witness.strangers == []
    assert witness.complaints == []


def test_the_whole_task_can_be_done_by_keyboard(
    desk_of_anna: Desk, page: Page, witness: Witness
) -> None:
    page.goto(desk_of_anna.address)
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(NAME)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.locator(".timeline").wait_for()
    page.keyboard.press("j")
    expect(page.locator(".line").nth(1)).to_have_attribute("aria-current", "true")
    page.locator(".timeline").wait_for()
    page.keyboard.press("c")
    expect(page.locator(".claim")).to_contain_text("Yours for")
    page.keyboard.press("3")
    expect(page.get_by_label("Disagree")).to_be_checked()
    page.locator("#sign").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".decided")).to_contain_text("Disagree")
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_visible()
    assert signed(desk_of_anna) == 1


def test_every_mark_and_every_fact_opens_its_source(desk_of_anna: Desk, page: Page) -> None:
    sign_in(page, desk_of_anna.address, NAME, PASSWORD)
    page.locator(".timeline").wait_for()
    page.locator(".evidence summary").first.click()
    expect(page.locator(".evidence .source").first).to_contain_text("sha256")
    lane = page.locator(".lane").first
    lane.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".fact-card")).to_contain_text("Source")
    first = page.locator(".fact-card code").first.text_content()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".fact-card code").first).not_to_have_text(first or "")


def test_an_abstention_is_shown_with_its_reason_and_markup_in_a_record_stays_text(
    desk_of_anna: Desk, page: Page, witness: Witness
) -> None:
    sign_in(page, desk_of_anna.address, NAME, PASSWORD)
    page.get_by_role("button", name="abstained").click()
    expect(page.locator(".line")).to_have_count(1)
    expect(page.locator(".line")).to_contain_text("withheld")
    expect(page.locator(".line-number")).to_have_text("—")
    page.locator(".line").click()
    expect(page.locator(".withheld")).to_contain_text("too little is known of this patient")
    page.get_by_role("button", name="all", exact=True).click()
    page.locator(".mark").first.click()
    expect(page.locator(".fact-card")).to_contain_text("<img src=x onerror=alert(1)> Heart rate")
    assert page.locator("img").count() == 0
    assert witness.complaints == []


def test_a_wrong_password_is_told_and_the_page_stays_usable(desk_of_anna: Desk, page: Page) -> None:
    page.goto(desk_of_anna.address)
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".failure")).to_contain_text("do not belong together")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".line").first).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_what_another_holds_cannot_be_decided_and_says_who_holds_it(
    browser: Browser, desk_of_anna: Desk, page: Page
) -> None:
    desk_of_anna.deps.clinicians.add("ben", "Dr Ben", PASSWORD, "clinician")  # type: ignore[attr-defined]
    sign_in(page, desk_of_anna.address, NAME, PASSWORD)
    page.locator(".timeline").wait_for()
    other = desk(browser).new_page()
    sign_in(other, desk_of_anna.address, "ben", PASSWORD)
    other.locator(".timeline").wait_for()
    page.get_by_role("button", name="Claim").click()
    expect(page.locator(".claim")).to_contain_text("Yours for")
    other.get_by_role("button", name="Claim").click()
    expect(other.locator("#alarm")).to_contain_text("The review has changed since you opened it")
    expect(other.locator(".claim")).to_contain_text("With anna")
    expect(other.locator("#sign")).to_be_disabled()
    other.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_it_stands_on(
    browser: Browser, desk_of_anna: Desk, scheme: ColorScheme
) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for every text that is seen; targets of 24 by 24 pixels."""
    context = desk(browser, scheme)
    page = context.new_page()
    sign_in(page, desk_of_anna.address, NAME, PASSWORD)
    show_an_answer(page)
    poor = page.evaluate(Path(__file__).with_name("contrast.js").read_text())
    assert poor["texts"] > 100
    assert poor["faint"] == []
    assert poor["small"] == []
    context.close()


def test_the_page_takes_its_own_picture_in_light_and_dark(
    browser: Browser, desk_of_anna: Desk, tmp_path: Path
) -> None:
    light, dark = take(browser, desk_of_anna.address, NAME, PASSWORD, tmp_path / "review.png")
    assert light.stat().st_size > 50_000
    assert dark.read_bytes() != light.read_bytes()


def test_the_page_is_small_and_asks_nobody_else() -> None:
    folder = Path(__file__).parents[2] / "adapters/http/static"
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "LICENSE"]
    assert sum(path.stat().st_size for path in files) < 150_000
    for path in files:
        if path.suffix in {".html", ".js", ".css"}:
            text = path.read_text()
            assert "innerHTML" not in text
            assert "https://" not in text
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
