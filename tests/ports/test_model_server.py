"""Port ModelServer: an answer to the very question, the same each time, or a named refusal."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.model_server.client import HttpModelServer
from clinical.prediction.memory import RefusedMemoryError
from clinical.prediction.readout import ReadoutKind
from clinical.prediction.request import PredictionRequest
from clinical.services.ports import ModelServer, ModelUnavailableError
from clinical.timeline.timeline import Timeline
from pipelines.commands.processes import shipped_checkpoint
from tests.adapters.model_server.builders import free_port, running
from tests.clinical.builders import PATIENT, event
from tests.fakes import NOON, FakeModelServer

pytestmark = pytest.mark.integration

_SERVE = """
import sys
from pathlib import Path
from adapters.model_server.worker import ServeOptions, serve
folder, port = sys.argv[1:]
serve(ServeOptions(checkpoint=Path(folder), host="127.0.0.1", port=int(port)))
"""


@pytest.fixture(params=["fake", "shipped"], scope="module")
def models(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    if request.param == "fake":
        yield FakeModelServer()
        return
    port = free_port()
    command = [sys.executable, "-c", _SERVE, str(shipped_checkpoint()), str(port)]
    with running(command, port) as base_url:
        client = HttpModelServer(base_url, 30.0)
        yield client
        client.close()


def _ask(number: int = 1) -> PredictionRequest:
    return PredictionRequest(
        prediction_id=UUID(int=number), patient_id=PATIENT, as_of=NOON, received_by=NOON
    )


def _timeline(num_events: int) -> Timeline:
    events = [event(f"o{n}", at=24 * n, value=str(80 + n % 40)) for n in range(num_events)]
    return Timeline.of(PATIENT, events)


def _long_timeline(num_events: int) -> Timeline:
    """Hour by hour: all of it is known when it is asked about."""
    events = [event(f"o{n}", at=n, value=str(80 + n % 40)) for n in range(num_events)]
    return Timeline.of(PATIENT, events)


@pytest.mark.parametrize("num_events", [1, 60])
def test_an_answer_names_the_question_that_it_answers(models: ModelServer, num_events: int) -> None:
    timeline = _timeline(num_events)
    capsule = models.forecast(_ask(), timeline).capsule
    assert capsule.input_digest == timeline.input_digest
    assert capsule.config_digest == _ask().config_digest
    assert capsule.model == models.fingerprint()
    assert capsule.num_events == num_events


@pytest.mark.parametrize("num_events", [1, 60])
def test_the_same_question_has_the_same_answer(models: ModelServer, num_events: int) -> None:
    timeline = _timeline(num_events)
    first, second = models.forecast(_ask(1), timeline), models.forecast(_ask(2), timeline)
    assert first == second
    assert first.output_digest == second.output_digest


@pytest.mark.parametrize("num_events", [1, 60])
def test_something_is_said_or_withheld_never_neither(models: ModelServer, num_events: int) -> None:
    forecast = models.forecast(_ask(), _timeline(num_events))
    assert (forecast.abstention is None) == bool(forecast.readouts)
    assert forecast.abstention is not None or forecast.trajectory is not None
    for readout in forecast.readouts:
        assert readout.horizon.start >= timedelta(0)
        if readout.kind is ReadoutKind.PROBABILITY and readout.estimate is not None:
            assert 0 <= readout.estimate <= 1


def test_the_evidence_is_in_the_timeline(models: ModelServer) -> None:
    timeline = _timeline(60)
    known = {held.event_id for held in timeline}
    for readout in models.forecast(_ask(), timeline).readouts:
        assert set(readout.evidence) <= known


def test_what_is_remembered_can_be_gone_on_from_and_the_answer_is_the_same(
    models: ModelServer,
) -> None:
    timeline = _long_timeline(1500)
    whole = models.answer(_ask(), timeline, None)
    assert whole.forecast == models.forecast(_ask(), timeline)
    assert len(whole.memories) >= 2
    for memory in whole.memories:
        again = models.answer(_ask(), timeline, memory)
        assert again.forecast == whole.forecast
        later = [m for m in whole.memories if m.prefix.num_blocks > memory.prefix.num_blocks]
        assert list(again.memories) == later
    earlier = _long_timeline(1100)
    memory = models.answer(_ask(), earlier, None).memories[-1]
    assert models.answer(_ask(), timeline, memory).forecast == whole.forecast


def test_a_short_record_is_answered_without_anything_to_remember(models: ModelServer) -> None:
    answered = models.answer(_ask(), _timeline(60), None)
    assert answered.memories == ()
    assert answered.forecast == models.forecast(_ask(), _timeline(60))


def test_a_damaged_memory_is_refused(models: ModelServer) -> None:
    timeline = _long_timeline(1100)
    memory = models.answer(_ask(), timeline, None).memories[-1]
    with pytest.raises(RefusedMemoryError):
        models.answer(_ask(), timeline, replace(memory, data=memory.data[:-1] + b"?"))


def test_a_model_that_is_away_says_so() -> None:
    fake = FakeModelServer()
    fake.is_away = True
    with HttpModelServerAway() as real:
        for away in (fake, real):
            with pytest.raises(ModelUnavailableError):
                away.fingerprint()
            with pytest.raises(ModelUnavailableError):
                away.forecast(_ask(), _timeline(3))
            with pytest.raises(ModelUnavailableError):
                away.answer(_ask(), _timeline(3), None)


class HttpModelServerAway:
    """The real client, of a process that is not there."""

    def __enter__(self) -> HttpModelServer:
        self._client = HttpModelServer(f"http://127.0.0.1:{free_port()}", 1.0)
        return self._client

    def __exit__(self, *_error: object) -> None:
        self._client.close()
