"""A stop and a recall are on the screen within seconds, over what is open, and a sign-off is never lost."""

import os
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, expect

from clinical.audit.entry import AuditKind
from clinical.prediction.registry import Concern
from clinical.services.registry import RegistryService
from tests.adapters.http.stage import FINGERPRINT
from tests.adapters.http.taking_back import take_back
from tests.browser.chromium import ColorScheme, Witness, desk, sign_in
from tests.browser.conftest import NAME, PASSWORD, Desk

pytestmark = [pytest.mark.browser, pytest.mark.integration]
_SECONDS = 1000.0
NOTE = 'Two ward rounds reported <b>absurd</b> risks "again"'


def stop(of: Desk) -> None:
    RegistryService(
        open_unit_of_work=of.deps.open_unit_of_work,
        clock=of.deps.clock,
        identities=of.deps.identities,
    ).stop(FINGERPRINT.name, "eva", Concern.SAFETY, NOTE)


def recall(of: Desk) -> None:
    recalls = of.deps.recalls
    recalls.recall(recalls.of_model(FINGERPRINT.name), "eva", Concern.SAFETY, NOTE)


def opened(browser: Browser, of: Desk, scheme: ColorScheme = "light") -> tuple[Page, Witness]:
    page, witness = desk(browser, scheme).new_page(), Witness(of.address)
    page.set_default_timeout(15_000)
    witness.watch(page)
    sign_in(page, of.address, NAME, PASSWORD)
    page.locator(".timeline").wait_for()
    return page, witness


def sign_what_is_open(page: Page) -> None:
    page.get_by_role("button", name="Claim").click()
    page.get_by_label("Note").fill("a note begun before")
    page.get_by_text("Agree", exact=True).click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_stop_is_shown_within_seconds_and_what_was_begun_can_be_signed(
    browser: Browser, desk_of_anna: Desk, scheme: ColorScheme, tmp_path: Path
) -> None:
    page, witness = opened(browser, desk_of_anna, scheme)
    sign_what_is_open(page)
    expect(page.locator("#notices")).to_be_empty()
    stop(desk_of_anna)
    banner = page.locator("#notices [role=alert]")
    expect(banner).to_contain_text("Model staged 1.0 is stopped", timeout=5 * _SECONDS)
    expect(banner).to_contain_text(NOTE)
    expect(page.locator(".banner.model_stopped")).to_contain_text("for safety")
    expect(page.locator("#status")).to_contain_text("model staged 1.0 · stopped")
    expect(page.locator(".line .caution").first).to_have_text("model stopped")
    expect(page.get_by_label("Note")).to_have_value("a note begun before")
    poor = page.evaluate(Path(__file__).with_name("contrast.js").read_text())
    assert poor["faint"] == []
    assert poor["small"] == []
    _picture(page, tmp_path / f"stopped-{scheme}.png")
    page.locator("#sign").click()
    expect(page.locator(".decided")).to_contain_text("a note begun before")
    assert page.locator("#notices b").count() == 0
    assert witness.strangers == []
    assert witness.complaints == []
    page.context.close()


def test_a_recall_withdraws_what_is_open_and_asks_for_another_look_at_what_was_signed(
    browser: Browser, desk_of_anna: Desk, tmp_path: Path
) -> None:
    page, witness = opened(browser, desk_of_anna)
    sign_what_is_open(page)
    page.locator("#sign").click()
    page.locator(".decided").wait_for()
    expect(page.locator(".line")).to_have_count(4)
    page.locator(".line").first.click()
    page.get_by_role("button", name="Claim").click()
    recall(desk_of_anna)
    warning = page.locator(".banner.recalled")
    expect(warning).to_contain_text("What this model said was recalled", timeout=5 * _SECONDS)
    expect(page.locator(".claim")).to_contain_text("Withdrawn")
    expect(page.locator("#sign")).to_be_disabled()
    expect(page.locator(".worklist")).to_contain_text("Nobody waits")
    page.get_by_role("button", name="look again 1").click()
    expect(page.locator(".line")).to_have_count(1)
    expect(page.locator(".line .caution")).to_have_text("look again")
    page.locator(".line").click()
    expect(page.locator(".banner.needs_another_look")).to_contain_text("Needs another look")
    _picture(page, tmp_path / "relook.png")
    page.get_by_role("button", name="I have looked again").click()
    expect(page.locator(".banner.looked_again")).to_contain_text("anna has looked again")
    expect(page.locator(".worklist")).to_contain_text("No signed review needs another look")
    expect(page.locator(".decided")).to_contain_text("Agree")
    review_id = page.url.partition("review=")[2]
    with desk_of_anna.deps.open_unit_of_work() as uow:
        kinds = [entry.kind for entry in uow.audit_log.history(review=review_id)]
    assert {AuditKind.REVIEW_RELOOK, AuditKind.REVIEW_LOOKED_AGAIN} <= set(kinds)
    assert witness.complaints == []
    page.context.close()


def test_what_is_out_of_date_says_so_within_seconds_over_what_is_open(
    browser: Browser, desk_of_anna: Desk
) -> None:
    page, witness = opened(browser, desk_of_anna)
    sign_what_is_open(page)
    review_id = UUID(page.url.partition("review=")[2])
    take_back(desk_of_anna.deps, review_id)
    warning = page.locator(".banner.stale")
    expect(warning).to_contain_text("Out of date", timeout=5 * _SECONDS)
    expect(warning).to_contain_text("what it read was withdrawn")
    expect(page.locator(".line .caution").first).to_have_text("out of date")
    expect(page.get_by_label("Note")).to_have_value("a note begun before")
    page.locator("#sign").click()
    expect(page.locator(".decided")).to_contain_text("a note begun before")
    assert witness.complaints == []
    page.context.close()


def _picture(page: Page, path: Path) -> None:
    folder = os.environ.get("CLINICAL_TEST_PICTURES")  # noqa: TID251 - to look at them by hand
    page.screenshot(path=str(Path(folder) / path.name if folder else path))
