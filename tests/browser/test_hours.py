"""The page about a stay in intensive care: it speaks hours, and of a risk until discharge."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine
from typing_extensions import override

from adapters.clock import SystemClock
from adapters.db.clinicians import Clinicians
from adapters.fhir.reader import BulkReader
from adapters.http.app import create_app
from clinical.audit.entry import Act
from clinical.prediction.horizon import UNTIL_DISCHARGE, Horizon
from clinical.prediction.prediction import Forecast
from clinical.prediction.readout import Readout, ReadoutKind
from clinical.prediction.request import PredictionRequest
from clinical.services.delivery import Delivery, Door
from clinical.services.intake import Intake
from clinical.services.prediction import PredictionService
from clinical.timeline.timeline import Timeline
from pipelines.icu.demo import questions
from pipelines.samples import icu_bundles
from tests.adapters.http.conftest import dependencies, served
from tests.adapters.http.stage import HORIZONS, StagedModel
from tests.browser.chromium import ColorScheme, Witness, desk, sign_in
from tests.browser.conftest import NAME, PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.integration]

QUARTERS = tuple(Horizon(timedelta(hours=h), timedelta(hours=h + 6)) for h in (0, 6, 12, 18))
OF = dict(zip(HORIZONS, QUARTERS, strict=True))


class HourlyModel(StagedModel):
    """The staged model, with windows of hours and one risk until discharge."""

    @override
    def forecast(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        said = super().forecast(request, timeline)
        first = next(r for r in said.readouts if r.kind is ReadoutKind.PROBABILITY)
        death = replace(first, name="Death in hospital", horizon=UNTIL_DISCHARGE)
        values: list[Readout] = [
            replace(readout, horizon=OF[readout.horizon])
            for readout in said.readouts
            if readout.kind is ReadoutKind.QUANTITY
        ]
        assert said.trajectory is not None
        trajectory = replace(said.trajectory, horizons=QUARTERS)
        return replace(said, readouts=(death, *values), trajectory=trajectory)


@pytest.fixture
def address(engine: Engine) -> Iterator[str]:
    """One stay of more than two days, asked about after two."""
    clock, model = SystemClock(), HourlyModel()
    deps = dependencies(engine, clock, model)
    Clinicians(engine).add(NAME, "Dr Anna Lindqvist", PASSWORD, "clinician")
    intake = Intake(
        open_unit_of_work=deps.open_unit_of_work,
        clock=clock,
        identities=deps.identities,
        readers={Door.FHIR_BULK: BulkReader()},
    )
    act = Act(actor="worker", at=clock.now())
    name, body = next(iter(icu_bundles()))
    delivery = Delivery(
        delivery_id=deps.identities.new(),
        site="icu",
        door=Door.FHIR_BULK,
        sender_id=name,
        body=body,
        content_type="application/fhir+json",
        received_at=clock.now(),
    )
    receipt = intake.receive(delivery, act)
    (patient_id,) = intake.record(receipt.delivery_id, act).reading.patients
    with deps.open_unit_of_work() as uow:
        (_, _, moment) = list(questions(uow.timelines.of(patient_id)))[-1]
    predictions = PredictionService(
        open_unit_of_work=deps.open_unit_of_work,
        clock=clock,
        identities=deps.identities,
        models=model,
    )
    predictions.make(patient_id, act, as_of=moment)
    with served(create_app(deps)) as client:
        yield str(client.base_url)


def opened(browser: Browser, address: str, witness: Witness, scheme: ColorScheme = "light") -> Page:
    page = desk(browser, scheme).new_page()
    page.set_default_timeout(15_000)
    witness.watch(page)
    sign_in(page, address, NAME, PASSWORD)
    page.locator(".line").first.click()
    page.locator(".timeline .mark").first.wait_for()
    return page


def ticks(page: Page, of: str) -> list[str]:
    texts = page.locator(f"{of} text.tick").all_text_contents()
    return [text for text in texts if re.search(r"[dhy]$", text)]


def test_the_axes_and_ranges_of_a_stay_are_hours(browser: Browser, address: str) -> None:
    witness = Witness(address)
    page = opened(browser, address, witness)
    chart = ticks(page, ".answer-chart > svg.course")
    assert {"+6 h", "+12 h", "+18 h", "+24 h"} <= set(chart)
    assert "−24 h" in chart
    assert all(text.endswith(" h") for text in chart)
    assert ticks(page, ".timeline") == ["−48 h", "−36 h", "−24 h", "−12 h", "asked"]
    ranges = page.get_by_role("group", name="How far back")
    expect(ranges.get_by_role("button", name="all")).to_have_attribute("aria-pressed", "true")
    ranges.get_by_role("button", name="24 h").click()
    expect(page.locator(".timeline")).to_contain_text("−18 h", timeout=20_000)
    expect(ranges.get_by_role("button", name="24 h")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".evidence").first).to_contain_text("before")
    assert witness.complaints == []


def test_a_linear_axis_gives_every_hour_the_same_room(browser: Browser, address: str) -> None:
    page = opened(browser, address, Witness(address))
    at = {
        text.text_content(): float(text.get_attribute("x") or "nan")
        for text in page.locator(".answer-chart > svg.course text.tick").all()
    }
    assert at["+12 h"] - at["+6 h"] == pytest.approx(at["+18 h"] - at["+12 h"], abs=0.1)
    assert at["now"] - at["−24 h"] == pytest.approx(4 * (at["+12 h"] - at["+6 h"]), abs=0.1)


def test_a_risk_until_discharge_is_said_with_its_calibration(
    browser: Browser, address: str
) -> None:
    page = opened(browser, address, Witness(address))
    risks = page.locator(".answer-risks")
    expect(risks.get_by_role("heading")).to_contain_text("Death in hospital until discharge")
    expect(risks.locator(".sentence")).to_contain_text("Of 100 patients scored like this one")
    expect(page.locator(".item-head")).to_contain_text("Horizon until discharge")
    expect(page.locator(".line").first).to_contain_text("until discharge")
