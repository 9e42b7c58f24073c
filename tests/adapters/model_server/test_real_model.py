"""The shipped model behind real mosec: what it says does not depend on what it is batched with."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import torch

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.fhir.reader import BulkReader
from adapters.model_server.client import HttpModelServer, RefusedQuestionError
from clinical.prediction.action import Action
from clinical.prediction.horizon import UNTIL_DISCHARGE, Horizon
from clinical.prediction.prediction import Forecast
from clinical.prediction.request import PredictionRequest
from clinical.services.delivery import Delivery, Door
from clinical.timeline.event import EventKind
from clinical.timeline.quantity import Quantity
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline
from clinical.worldmodel import checkpoint
from clinical.worldmodel.inference import Inference
from pipelines.commands.processes import shipped_checkpoint
from pipelines.samples import demo_bundles
from tests.adapters.model_server.builders import free_port, running
from tests.clinical.builders import PATIENT, event, hours

pytestmark = pytest.mark.integration

NUM_QUESTIONS = 12
_SERVE = """
import sys
from pathlib import Path
from adapters.model_server.worker import ServeOptions, serve
folder, port = sys.argv[1:]
serve(ServeOptions(checkpoint=Path(folder), host="127.0.0.1", port=int(port), timeout_ms=60_000))
"""

Asked = tuple[PredictionRequest, Timeline]


@pytest.fixture(scope="module")
def questions() -> list[Asked]:
    """One about each of some demo patients, with everything that is known of them."""
    made = []
    for _, body in demo_bundles():
        delivery = Delivery(
            delivery_id=UUID(int=1),
            site="sample",
            door=Door.FHIR_BULK,
            sender_id="",
            body=body,
            content_type="application/fhir+json",
            received_at=SystemClock().now(),
        )
        events = BulkReader().read(delivery).events
        timeline = Timeline.of(events[0].patient_id, events)
        made.append((request_for(timeline), timeline))
        if len(made) == NUM_QUESTIONS:
            return made
    raise AssertionError("the demo has more patients than that")


def request_for(timeline: Timeline) -> PredictionRequest:
    as_of = timeline.known_until
    assert isinstance(as_of, datetime)
    return PredictionRequest(
        prediction_id=TimeOrderedIdentities().new(),
        patient_id=timeline.patient_id,
        as_of=as_of,
        received_by=as_of + timedelta(days=36_500),
    )


@pytest.fixture(scope="module")
def inference() -> Iterator[Inference]:
    """The same model in this process, on one thread like the one that is served."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield checkpoint.load(shipped_checkpoint())
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def server() -> Iterator[HttpModelServer]:
    port = free_port()
    command = [sys.executable, "-c", _SERVE, str(shipped_checkpoint()), str(port)]
    with running(command, port) as base_url:
        client = HttpModelServer(base_url, 60.0)
        yield client
        client.close()


def test_the_process_serves_the_checkpoint_that_it_was_given(
    server: HttpModelServer, inference: Inference
) -> None:
    assert server.fingerprint() == inference.fingerprint


def test_alone_in_a_crowd_and_without_the_wire_the_answer_is_the_same_to_the_bit(
    server: HttpModelServer, inference: Inference, questions: list[Asked]
) -> None:
    alone = [server.forecast(*question) for question in questions]
    with ThreadPoolExecutor(NUM_QUESTIONS) as crowd:
        together = list(crowd.map(lambda question: server.forecast(*question), questions))
    assert together == alone
    digests = [forecast.output_digest for forecast in alone]
    assert [forecast.output_digest for forecast in inference.forecast(questions)] == digests
    assert len(set(digests)) > 1
    assert any(forecast.trajectory is not None for forecast in alone)


def test_a_patient_with_one_event_gets_an_abstention_that_says_why(
    server: HttpModelServer,
) -> None:
    timeline = Timeline.of(PATIENT, [event(value="100")])
    forecast = server.forecast(request_for(timeline), timeline)
    assert forecast.abstention is not None
    assert forecast.abstention.reason == "too_few_events"
    assert forecast.trajectory is None


def test_a_bad_question_comes_back_by_its_name(
    server: HttpModelServer, inference: Inference, questions: list[Asked]
) -> None:
    """What no model can be asked is refused; what this one cannot answer is an abstention."""
    request, timeline = next(q for q in questions if server.forecast(*q).trajectory is not None)
    year, day = Horizon(timedelta(0), timedelta(days=366)), timedelta(days=1)
    known = inference.tensorizer.vocabulary.entries[0].code
    action = Action(kind=EventKind.PROCEDURE, code=known, after=400 * day)
    for changes, code in (
        ({"actions": (action,)}, "prediction.contradictory_plan"),
        ({"horizons": (UNTIL_DISCHARGE,)}, "prediction.impossible_horizon"),
    ):
        with pytest.raises(RefusedQuestionError) as refused:
            server.forecast(replace(request, **changes), timeline)  # type: ignore[arg-type]
        assert refused.value.refusal_code == code
    strange = replace(action, code=replace(known, value="no such code"), after=day)
    absurd = _with_absurd_value(timeline, inference)
    later = replace(request, as_of=absurd.known_until or request.as_of)
    for asked, known_by_then, reason in (
        (replace(request, horizons=(year,)), timeline, "horizon_beyond_reach"),
        (replace(request, actions=(strange,)), timeline, "unknown_action"),
        (later, absurd, "implausible_value"),
        (request, Timeline.of(request.patient_id, []), "too_few_events"),
    ):
        forecast = server.forecast(asked, known_by_then)
        assert forecast.abstention is not None
        assert forecast.abstention.reason == reason


def _with_absurd_value(timeline: Timeline, inference: Inference) -> Timeline:
    """The newest value of a followed quantity, measured once more as 1e30."""
    followed = set(inference.tensorizer.vocabulary.numeric)
    newest = [e for e in timeline if e.code.key in followed and isinstance(e.value, Quantity)][-1]
    assert isinstance(newest.value, Quantity)
    value = replace(newest.value, value=Decimal("1e30"))
    source = replace(newest.source, record_id="absurd", digest="0" * 64)
    assert timeline.known_until is not None
    moment = ClinicalTime.instant(timeline.known_until + timedelta(hours=1))
    again = replace(newest, value=value, source=source, occurred_at=moment, recorded_at=None)
    return Timeline.of(timeline.patient_id, [*timeline, again])


def test_a_patient_with_fifty_thousand_events_is_answered_within_seconds(
    server: HttpModelServer,
) -> None:
    """Typical is two to four seconds on a quiet core; the bound allows for a busy one."""
    events = [event(f"o{n}", at=n, received=60_000, value=str(80 + n % 60)) for n in range(50_000)]
    timeline = Timeline.of(PATIENT, events)
    start = time.monotonic()
    forecast = server.forecast(request_for(timeline), timeline)
    assert time.monotonic() - start < 30
    assert isinstance(forecast, Forecast)
    assert forecast.capsule.num_events == 50_000
    assert forecast.capsule.input_digest == timeline.cut(hours(70_000)).input_digest
