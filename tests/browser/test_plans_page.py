"""Comparing plans on the review page, in a real Chromium: picked, compared, read, and withheld in words."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, expect

from clinical.audit.entry import Act, AuditKind
from clinical.prediction.plan import COURSE_UNDER_PLAN
from clinical.services.prediction import PredictionService
from clinical.timeline.patient import PatientRef
from tests.adapters.http.stage import StagedModel
from tests.browser.chromium import ColorScheme, Witness, desk, sign_in
from tests.browser.conftest import NAME, PASSWORD, Desk
from tests.planning import shipped_patient

pytestmark = [pytest.mark.browser, pytest.mark.integration]


@pytest.fixture
def review_id(desk_of_anna: Desk) -> UUID:
    """A review of a shipped patient of whom the shipped model says something."""
    deps = desk_of_anna.deps
    patient = PatientRef("sample", "shipped")
    received = deps.clock.now()
    with deps.open_unit_of_work() as uow:
        uow.timelines.add(
            [
                replace(event, patient_id=patient.patient_id, received_at=received)
                for event in shipped_patient()
            ],
            {patient.patient_id: patient},
        )
        uow.commit()
    service = PredictionService(
        open_unit_of_work=deps.open_unit_of_work,
        clock=deps.clock,
        identities=deps.identities,
        models=StagedModel(),
    )
    service.make(patient.patient_id, Act(actor="worker", at=deps.clock.now()))
    with deps.open_unit_of_work() as uow:
        (review,) = uow.reviews.open_for(patient.patient_id)
    return review.review_id


def open_panel(page: Page, address: str, review_id: UUID) -> None:
    sign_in(page, address, NAME, PASSWORD)
    page.goto(f"{address}/#review={review_id}")
    page.locator(".timeline").wait_for()
    page.get_by_text("Compare plans").first.click()
    page.locator(".plan-form").wait_for()


def pick_and_compare(page: Page) -> None:
    page.get_by_label("Give influenza vaccine").check()
    page.get_by_label("Prescribe simvastatin 10 mg").check()
    page.get_by_label("Systolic blood pressure up to 130 mmHg").check()
    page.get_by_role("button", name="Compare plans").click()
    page.locator(".plan-answer").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plans_are_picked_compared_and_shown_with_the_parts_of_their_energy(
    browser: Browser, desk_of_anna: Desk, review_id: UUID, scheme: ColorScheme, tmp_path: Path
) -> None:
    context = desk(browser, scheme)
    page = context.new_page()
    page.set_default_timeout(30_000)
    witness = Witness(desk_of_anna.address)
    witness.watch(page)
    open_panel(page, desk_of_anna.address, review_id)
    button = page.get_by_role("button", name="Compare plans")
    expect(button).to_be_disabled()
    expect(page.get_by_label("Prescribe simvastatin 20 mg")).to_have_count(0)
    expect(page.locator(".plan-form")).to_contain_text("Not offered")
    pick_and_compare(page)
    options = page.locator(".plan-options > li")
    expect(options).to_have_count(4)
    expect(page.locator(".plan-answer")).to_contain_text(COURSE_UNDER_PLAN)
    expect(page.locator(".plan-options")).to_contain_text("No change")
    expect(options.first).to_contain_text("of 100 similar patients")
    options.first.get_by_text("Expected course").click()
    expect(options.first.locator("table")).to_contain_text("mmHg")
    widths = [
        sum(float(rect.get_attribute("width") or 0) for rect in option.locator("rect").all())
        for option in options.all()
    ]
    assert widths == sorted(widths)
    poor = page.evaluate(Path(__file__).with_name("contrast.js").read_text())
    assert poor["faint"] == []
    assert poor["small"] == []
    _picture(page, tmp_path / f"plans-{scheme}.png")
    assert witness.strangers == []
    assert witness.complaints == []
    context.close()


def _picture(page: Page, path: Path) -> None:
    folder = os.environ.get("CLINICAL_TEST_PICTURES")  # noqa: TID251 - to look at them by hand
    page.locator(".plans").screenshot(path=str(Path(folder) / path.name if folder else path))


def test_it_is_kept_through_a_reload_and_is_in_the_audit_log(
    browser: Browser, desk_of_anna: Desk, review_id: UUID
) -> None:
    page = desk(browser).new_page()
    page.set_default_timeout(30_000)
    open_panel(page, desk_of_anna.address, review_id)
    pick_and_compare(page)
    first = page.locator(".plan-options h4").all_inner_texts()
    page.reload()
    page.locator(".timeline").wait_for()
    page.get_by_text("Compare plans").first.click()
    page.locator(".plan-options").wait_for()
    assert page.locator(".plan-options h4").all_inner_texts() == first
    with desk_of_anna.deps.open_unit_of_work() as uow:
        kinds = [entry.kind for entry in uow.audit_log.history(review=str(review_id))]
    assert kinds.count(AuditKind.PLANS_COMPARED) == 1
    page.context.close()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda model: setattr(model, "log_odds", None), "cannot say how usual"),
        (lambda model: setattr(model, "is_away", True), "model"),
    ],
)
def test_where_no_plan_can_be_ranked_the_page_says_so_in_words(
    browser: Browser,
    desk_of_anna: Desk,
    review_id: UUID,
    spoil: Callable[[StagedModel], None],
    words: str,
) -> None:
    spoil(desk_of_anna.deps.planning.models)  # type: ignore[arg-type]
    page = desk(browser).new_page()
    page.set_default_timeout(30_000)
    sign_in(page, desk_of_anna.address, NAME, PASSWORD)
    page.goto(f"{desk_of_anna.address}/#review={review_id}")
    page.locator(".timeline").wait_for()
    page.get_by_text("Compare plans").first.click()
    expect(page.locator(".plans-body")).to_contain_text(words)
    expect(page.locator(".plan-options")).to_have_count(0)
    page.context.close()


def test_a_ranking_that_is_withheld_says_why(
    browser: Browser, desk_of_anna: Desk, review_id: UUID
) -> None:
    """Actions so rare that no plan has support: the reason stands where the options would."""
    model = desk_of_anna.deps.planning.models
    model.log_odds = 0.0  # type: ignore[attr-defined]
    page = desk(browser).new_page()
    page.set_default_timeout(30_000)
    open_panel(page, desk_of_anna.address, review_id)
    page.get_by_label("Give influenza vaccine").check()
    model.log_odds = None  # type: ignore[attr-defined]  # another model serves by now
    page.get_by_label("Systolic blood pressure up to 130 mmHg").check()
    page.get_by_role("button", name="Compare plans").click()
    answer = page.locator(".plan-answer")
    expect(answer).to_contain_text("Not enough to rank these plans")
    expect(answer).to_contain_text("How usual these decisions are for such patients is not known")
    page.context.close()
