"""K13, the model's half: a model process that lies is never believed, and what waits is done when it stops."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from adapters.db.unit_of_work import unit_of_work_factory
from adapters.model_server.client import (
    ForeignAnswerError,
    HttpModelServer,
    MisdirectedAnswerError,
)
from clinical.audit.entry import AuditKind
from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.prediction import Prediction
from clinical.prediction.replay import Replay
from clinical.services.messages import Message, MessageKind
from clinical.services.prediction import PredictionService
from clinical.services.replay import ReplayService
from clinical.timeline.patient import PatientRef
from pipelines.tasks.attempt import Bench, Outcome, attempt
from pipelines.tasks.prediction import predict
from tests.adapters.model_server.builders import stub_process
from tests.adapters.model_server.stub_process import Lie
from tests.clinical.builders import PATIENT, event
from tests.fakes import SeededIdentities, SettableClock

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lie") / "lie"


@pytest.fixture(scope="module")
def server(lie: Path) -> Iterator[HttpModelServer]:
    with stub_process(lie=lie) as base_url:
        client = HttpModelServer(base_url, 10.0)
        yield client
        client.close()


class Worker:
    """One attempt after the other at a prediction that is owed, with the real client in between."""

    def __init__(self, engine: Engine, server: HttpModelServer) -> None:
        self.server = server
        self.clock, identities = SettableClock(), SeededIdentities()
        open_unit_of_work = unit_of_work_factory(engine, moment=self.clock.now)
        self.open_unit_of_work = open_unit_of_work
        service = PredictionService(
            open_unit_of_work=open_unit_of_work,
            clock=self.clock,
            identities=identities,
            models=server,
        )
        self.bench = Bench(
            open_unit_of_work=open_unit_of_work,
            clock=self.clock,
            identities=identities,
            lease=timedelta(minutes=2),
            work={MessageKind.PREDICT: lambda message, act: predict(service, message, act)},
        )

    def owe(self) -> UUID:
        """A message that owes a prediction for a patient with three events."""
        message = Message(
            message_id=uuid4(),
            kind=MessageKind.PREDICT,
            subject_id=PATIENT,
            created_at=self.clock.now(),
            coalesce_key="k",
        )
        with self.open_unit_of_work() as uow:
            uow.timelines.add(
                [event(f"o{n}", at=n, received=n) for n in range(3)],
                {PATIENT: PatientRef("north", "p1")},
            )
            uow.outbox.add(message)
            uow.commit()
        return message.message_id

    def attempt(self, message_id: UUID) -> Outcome:
        self.clock.advance(timedelta(minutes=3))
        return attempt(self.bench, message_id)

    def stored(self) -> list[Prediction]:
        with self.open_unit_of_work() as uow:
            return list(uow.predictions.all())

    def replay(self, prediction: Prediction) -> Replay:
        service = ReplayService(
            open_unit_of_work=self.open_unit_of_work, models=self.server, planner=self.server
        )
        return service.replay(prediction.request.prediction_id).recomputed.replay


@pytest.fixture
def worker(engine: Engine, server: HttpModelServer) -> Worker:
    return Worker(engine, server)


@pytest.mark.parametrize("told", [Lie.NAN, Lie.INFINITE_STATE, Lie.IMPROBABLE])
def test_what_is_no_number_is_stored_as_an_abstention_and_can_be_replayed(
    worker: Worker, lie: Path, told: Lie
) -> None:
    lie.write_text(told)
    assert worker.attempt(worker.owe()) is Outcome.DONE
    [prediction] = worker.stored()
    assert prediction.forecast.abstention is not None
    assert prediction.forecast.abstention.reason is AbstentionReason.MODEL_NOT_NUMERIC
    assert prediction.forecast.trajectory is None
    assert prediction.forecast.readouts == ()
    assert worker.replay(prediction) is Replay.EQUAL
    lie.write_text("")
    assert worker.replay(prediction) is Replay.DIFFERENT


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (Lie.OTHER_MODEL, ForeignAnswerError.code),
        (Lie.OTHER_INPUT, MisdirectedAnswerError.code),
        (Lie.OTHER_CONFIG, MisdirectedAnswerError.code),
    ],
)
def test_an_answer_to_another_question_is_never_stored_and_the_question_waits(
    worker: Worker, lie: Path, told: Lie, code: str
) -> None:
    lie.write_text(told)
    message_id = worker.owe()
    for _ in range(8):  # more often than an error of our own would be tried
        assert worker.attempt(message_id) is Outcome.WAITING
    assert worker.stored() == []
    with worker.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 1
        kinds = {entry.kind for _, entry, _ in uow.audit_log.sequenced()}
        assert AuditKind.PREDICTION_STORED not in kinds
    lie.write_text("")
    assert worker.attempt(message_id) is Outcome.DONE
    [prediction] = worker.stored()
    assert prediction.forecast.abstention is None
    assert worker.replay(prediction) is Replay.EQUAL


def test_a_question_that_only_lies_answer_is_given_up_after_three_days_and_its_reason_kept(
    worker: Worker, lie: Path
) -> None:
    lie.write_text(Lie.OTHER_MODEL)
    message_id = worker.owe()
    worker.clock.advance(timedelta(hours=73))
    assert worker.attempt(message_id) is Outcome.GIVEN_UP
    with worker.open_unit_of_work() as uow:
        [given_up] = uow.outbox.given_up(9)
        [entry] = uow.audit_log.history(message=str(message_id))
    assert given_up.error_code == ForeignAnswerError.code
    assert entry.refs["why"] == ForeignAnswerError.code
    assert worker.stored() == []
