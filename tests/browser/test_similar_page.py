"""The section of similar patients in a real Chromium: numbers about many, or that they are too few."""

from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Page, expect

from clinical.audit.entry import Act
from clinical.prediction.request import Purpose
from clinical.services.prediction import PredictionService
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import EventKind
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime
from tests.adapters.http.stage import StagedModel
from tests.browser.chromium import Witness, desk, sign_in
from tests.browser.conftest import NAME, PASSWORD, Desk
from tests.clinical.builders import event, hours

pytestmark = [pytest.mark.browser, pytest.mark.integration]
EMERGENCY = Code(CodeSystem.ACT, "EMER", "emergency")


@pytest.fixture
def witness(desk_of_anna: Desk) -> Witness:
    return Witness(desk_of_anna.address)


@pytest.fixture
def page(browser: Browser, witness: Witness) -> Page:
    page = desk(browser).new_page()
    page.set_default_timeout(15_000)
    witness.watch(page)
    return page


def _add_neighbour(desk_of_anna: Desk, number: int) -> None:
    """Asked about on the fifth day, with a year on record; every second one had an emergency."""
    ref, deps = PatientRef("sample", f"n{number}"), desk_of_anna.deps
    facts = {"patient_id": ref.patient_id, "received_at": datetime(2026, 1, 1, tzinfo=UTC)}
    born = ClinicalTime.day(1950, 1, 1)
    events = [
        event(f"n{number}-born", kind=EventKind.PATIENT, occurred_at=born, **facts),
        *(event(f"n{number}-{day}", at=24 * day, **facts) for day in (*range(6), 400)),
    ]
    if number % 2:
        visit = {"kind": EventKind.ENCOUNTER, "code": EMERGENCY}
        events.append(event(f"n{number}-visit", at=24 * 8, **visit, **facts))
    with deps.open_unit_of_work() as uow:
        uow.timelines.add(events, {ref.patient_id: ref})
        uow.commit()
    service = PredictionService(
        open_unit_of_work=deps.open_unit_of_work,
        clock=deps.clock,
        identities=deps.identities,
        models=StagedModel(),
    )
    act = Act(actor="worker", at=deps.clock.now())
    service.make(ref.patient_id, act, purpose=Purpose.RETROSPECTIVE, as_of=hours(24 * 5))


def test_too_few_similar_patients_are_said_to_be_too_few(
    desk_of_anna: Desk, page: Page, witness: Witness
) -> None:
    sign_in(page, desk_of_anna.address, NAME, PASSWORD)
    page.get_by_role("button", name="Show similar patients").click()
    expect(page.locator(".similar")).to_contain_text("Not enough similar patients: at least 20")
    assert page.locator(".similar table").count() == 0
    assert witness.complaints == []
    assert witness.strangers == []


def test_what_happened_among_similar_patients_is_shown_and_stays_while_the_item_is_drawn_again(
    desk_of_anna: Desk, page: Page, witness: Witness
) -> None:
    for number in range(24):
        _add_neighbour(desk_of_anna, number)
    sign_in(page, desk_of_anna.address, NAME, PASSWORD)
    similar = page.locator(".similar")
    page.get_by_role("button", name="Show similar patients").click()
    expect(similar).to_contain_text("24 patients of this site")
    expect(similar).to_contain_text("of the usual distance between patients")
    expect(similar).to_contain_text("not a forecast")
    # These are all that the site has, so they are as far as patients usually are.
    expect(similar).to_contain_text("They are hardly nearer than patients of this site usually are")
    row = similar.locator(".similar-outcomes tbody tr").filter(has_text="Emergency visit").first
    expect(row).to_contain_text("50 % (31–69 %)")
    expect(row.locator("td").last).to_have_text("24")
    death = similar.locator(".similar-outcomes tbody tr").filter(has_text="Death").first
    expect(death).to_contain_text("fewer than 11 patients")
    page.get_by_role("button", name="Claim").click()
    expect(page.locator(".claim")).to_contain_text("Yours for")
    expect(similar).to_contain_text("24 patients of this site")
    assert witness.complaints == []
