"""J4 for one answer: what it rests on is checked, it is computed again, and the two are compared.

Reads only. Knows which evidence an answer has: the deliveries' bytes, the events, the audit log, the
model. Does not know what makes two answers equal.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import AuditKind
from clinical.errors import NotFoundError, RejectedError
from clinical.prediction.circumstances import Received, deliveries_of, received_of
from clinical.prediction.memory import DamagedMemoryError, PatientMemory, RefusedMemoryError
from clinical.prediction.plan import StoredComparison
from clinical.prediction.prediction import Capsule, Forecast, Prediction
from clinical.prediction.replay import Gap, Recomputed, Replay, compare, compare_comparisons
from clinical.services.ports import ModelServer, OpenUnitOfWork, PlanModel, UnitOfWork
from clinical.services.reading_again import as_it_was_read
from clinical.timeline.timeline import Timeline


class ChangedInputError(RejectedError):
    """The events that an answer rested on are no longer the same: it cannot be recomputed."""

    code = "prediction.changed_input"


class ChangedBytesError(ChangedInputError):
    """The bytes that the events were read from are not those that came; `deliveries` says which."""

    code = "prediction.changed_bytes"

    def __init__(self, message: str, deliveries: Collection[UUID] = ()) -> None:
        """Name the deliveries, as far as it can be told which they are."""
        named = ", ".join(map(str, deliveries))
        super().__init__(f"{message}: {named}" if named else message)
        self.deliveries = tuple(deliveries)


class ErasedBytesError(ChangedBytesError):
    """The bytes that the events were read from were erased: nobody can hash them again."""

    code = "prediction.erased_bytes"


class OtherModelError(RejectedError):
    """Another model serves than the one that answered; only that one can answer again."""

    code = "prediction.other_model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """An answer, the capsule it was stored with, and how its recomputation compares."""

    subject: str
    subject_id: UUID
    capsule: Capsule
    recomputed: Recomputed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The part of a stored question and its answer that says what it rested on, and in which words."""

    subject: str
    subject_id: UUID
    patient_id: UUID
    as_of: datetime
    received_by: datetime
    capsule: Capsule
    output_digest: str


@dataclass(frozen=True, slots=True)
class _Found:
    """The input as it stands, whose bytes it rests on, and where the audit log says otherwise."""

    timeline: Timeline
    input_digest: str  # in the version of the digest that the answer was stored with
    received: Received
    faults: tuple[Gap, ...]

    def capsule(self, said: Capsule) -> Capsule:
        """What the model said of a computation, with what only its asker knows."""
        return replace(said, input_digest=self.input_digest, received=self.received)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayService:
    """Computes stored answers again."""

    open_unit_of_work: OpenUnitOfWork
    models: ModelServer
    planner: PlanModel

    def replay(self, answer_id: UUID) -> Replayed:
        """The prediction of this id, or else the comparison of plans, against its recomputation.

        Raises:
            NotFoundError, ChangedInputError, ChangedBytesError, ErasedBytesError, OtherModelError
            ModelUnavailableError, ModelBusyError
        """
        try:
            with self.open_unit_of_work() as uow:
                prediction = uow.predictions.get(answer_id)
        except NotFoundError:
            with self.open_unit_of_work() as uow:
                stored = uow.plan_comparisons.get(answer_id)
            return self._replay_comparison(stored)
        return self._replay_prediction(prediction)

    def recompute(self, prediction_id: UUID) -> tuple[Prediction, Forecast]:
        """The stored prediction, and what the model answers to the same question now.

        Raises:
            ChangedInputError, ChangedBytesError, ModelUnavailableError, ModelBusyError
        """
        with self.open_unit_of_work() as uow:
            prediction = uow.predictions.get(prediction_id)
            found = _found(uow, _asked(prediction))
        return prediction, self._again(prediction, found)

    def resume(self, prediction_id: UUID) -> Forecast | None:
        """As `recompute`, going on from what the model remembers; None where it remembers nothing.

        Raises:
            ChangedInputError, ChangedBytesError, RefusedMemoryError
        """
        with self.open_unit_of_work() as uow:
            prediction = uow.predictions.get(prediction_id)
            found = _found(uow, _asked(prediction))
        return self._resumed(prediction, found)

    def _replay_prediction(self, prediction: Prediction) -> Replayed:
        asked = _asked(prediction)
        with self.open_unit_of_work() as uow:
            found = _found(uow, asked)
        self._require_model(asked.capsule)
        recomputed = compare(prediction.forecast, self._again(prediction, found))
        if recomputed.replay is Replay.EQUAL:
            recomputed = self._going_on(prediction, found) or recomputed
        return _replayed(asked, recomputed, found)

    def _replay_comparison(self, stored: StoredComparison) -> Replayed:
        asked = _asked_of_plans(stored)
        with self.open_unit_of_work() as uow:
            found = _found(uow, asked)
        self._require_model(asked.capsule)
        said = self.planner.compare_plans(stored.question, found.timeline)
        again = replace(said, capsule=found.capsule(said.capsule))
        return _replayed(asked, compare_comparisons(stored.comparison, again), found)

    def _require_model(self, capsule: Capsule) -> None:
        made, serves = capsule.model, self.models.fingerprint()
        if made.manifest_digest != serves.manifest_digest:
            raise OtherModelError(
                f"{made.name} {made.version} ({made.manifest_digest[:12]}) answered, and"
                f" {serves.name} {serves.version} ({serves.manifest_digest[:12]}) serves"
            )

    def _again(self, prediction: Prediction, found: _Found) -> Forecast:
        return _with(self.models.forecast(prediction.request, found.timeline), found)

    def _going_on(self, prediction: Prediction, found: _Found) -> Recomputed | None:
        """What is wrong with going on from what the model remembers; None where nothing is.

        A memory of another code or device is no fault: the next answer reads the whole again.
        """
        try:
            again = self._resumed(prediction, found)
        except DamagedMemoryError:
            gap = Gap("damaged memory", is_small=False)
            return Recomputed(replay=Replay.DIFFERENT, gaps=(gap,))
        except RefusedMemoryError:
            return None
        recomputed = None if again is None else compare(prediction.forecast, again)
        if recomputed is None or recomputed.replay is Replay.EQUAL:
            return None
        return _faulty(recomputed, [Gap("going on from memory", is_small=False)])

    def _resumed(self, prediction: Prediction, found: _Found) -> Forecast | None:
        with self.open_unit_of_work() as uow:
            memory = self._remembered(uow, found.timeline)
        if memory is None:
            return None
        answered = self.models.answer(prediction.request, found.timeline, memory)
        return _with(answered.forecast, found)

    def _remembered(self, uow: UnitOfWork, timeline: Timeline) -> PatientMemory | None:
        prefixes = timeline.chain.resumable[1:]
        if not prefixes:
            return None
        model = self.models.fingerprint().manifest_digest
        return uow.memories.newest(timeline.patient_id, model, prefixes)


def _asked(prediction: Prediction) -> _Asked:
    request = prediction.request
    return _Asked(
        subject="prediction",
        subject_id=request.prediction_id,
        patient_id=request.patient_id,
        as_of=request.as_of,
        received_by=request.received_by,
        capsule=prediction.forecast.capsule,
        output_digest=prediction.forecast.output_digest,
    )


def _asked_of_plans(stored: StoredComparison) -> _Asked:
    question = stored.question
    return _Asked(
        subject="comparison",
        subject_id=question.comparison_id,
        patient_id=question.patient_id,
        as_of=question.as_of,
        received_by=question.received_by,
        capsule=stored.comparison.capsule,
        output_digest=stored.comparison.output_digest,
    )


def _found(uow: UnitOfWork, asked: _Asked) -> _Found:
    """The input of a question, every byte of which was hashed again.

    Raises:
        ChangedInputError, ChangedBytesError, ErasedBytesError
    """
    timeline = as_it_was_read(
        uow, asked.patient_id, asked.as_of, asked.received_by, asked.capsule.input_digest
    )
    if timeline is None:
        raise ChangedInputError("the events that the answer rested on were changed or erased")
    deliveries = deliveries_of(timeline)
    held = uow.inbox.digests(deliveries)
    erased = sorted(delivery_id for delivery_id, digest in held.items() if not digest)
    if erased:
        raise ErasedBytesError("bytes that the answer rested on were erased", erased)
    altered = uow.inbox.altered(deliveries)
    if altered:
        raise ChangedBytesError("the stored bytes are not those that came", altered)
    received, before = received_of(timeline, held), asked.capsule.received
    if before is not None and received != before:
        rewritten = _rewritten(uow, held)
        raise ChangedBytesError("the answer rested on other records or bytes", rewritten)
    return _Found(timeline, asked.capsule.input_digest, received, tuple(_faults(uow, asked)))


def _rewritten(uow: UnitOfWork, held: Mapping[UUID, str]) -> list[UUID]:
    """Deliveries whose digest was changed along with their bytes: the audit log has the first one."""
    found = []
    for delivery_id, digest in sorted(held.items()):
        entries = uow.audit_log.history(delivery=str(delivery_id))
        received = [e for e in entries if e.kind is AuditKind.DELIVERY_RECEIVED]
        salts = uow.audit_log.salts([entry.entry_id for entry in received])
        if not all(e.vouches_for("digest", digest, salts.get(e.entry_id)) for e in received):
            found.append(delivery_id)
    return found


def _faults(uow: UnitOfWork, asked: _Asked) -> list[Gap]:
    """Where the audit log names the answer otherwise than it is stored."""
    capsule = asked.capsule
    entries = [
        entry
        for entry in uow.audit_log.history(**{asked.subject: str(asked.subject_id)})
        if entry.kind in {AuditKind.PREDICTION_STORED, AuditKind.PLANS_COMPARED}
    ]
    if not entries:
        return [Gap("audit entry, which is missing", is_small=False)]
    stored = {
        "input": capsule.input_digest,
        "model": capsule.model.manifest_digest,
        "config": capsule.config_digest,
        "output": asked.output_digest,
        "capsule": capsule.digest,
    }
    [entry, *_] = entries
    salt = uow.audit_log.salts([entry.entry_id]).get(entry.entry_id)
    return [
        Gap(f"{name}, as the audit log names it", is_small=False)
        for name, digest in stored.items()
        # An entry from before capsules had a digest does not name it.
        if name in entry.refs and not entry.vouches_for(name, digest, salt)
    ]


def _with(forecast: Forecast, found: _Found) -> Forecast:
    return replace(forecast, capsule=found.capsule(forecast.capsule))


def _replayed(asked: _Asked, recomputed: Recomputed, found: _Found) -> Replayed:
    return Replayed(
        subject=asked.subject,
        subject_id=asked.subject_id,
        capsule=asked.capsule,
        recomputed=_faulty(recomputed, found.faults) if found.faults else recomputed,
    )


def _faulty(recomputed: Recomputed, faults: Sequence[Gap]) -> Recomputed:
    return replace(recomputed, replay=Replay.DIFFERENT, gaps=(*faults, *recomputed.gaps))
