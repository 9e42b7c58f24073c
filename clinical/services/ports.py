"""What the domain needs from outside, as protocols; adapters implement them, assembly joins them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from clinical.audit.checkpoint import Signature
from clinical.audit.entry import AuditEntry
from clinical.audit.ranges import Node
from clinical.audit.tree import TreeHead
from clinical.errors import OperationalError
from clinical.prediction.memory import Answered, PatientMemory
from clinical.prediction.plan import PlanComparison, PlanQuestion, StoredComparison
from clinical.prediction.prediction import Forecast, ModelFingerprint, Prediction
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.prediction.similar import Neighbour
from clinical.review.decision import Decision
from clinical.review.review import Review, ReviewState
from clinical.review.writeback import WriteBack
from clinical.services.delivery import Delivery, Quarantined, Reading, Reception, SetAside
from clinical.services.messages import GivenUp, Message
from clinical.timeline.chain import Prefix
from clinical.timeline.event import Event
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline


class ModelUnavailableError(OperationalError):
    """The model process is not there, not warm, or answered with an error: ask again later."""

    code = "model.unavailable"


class ModelBusyError(OperationalError):
    """The model process refused: its queue is full or the request waited too long."""

    code = "model.busy"


class EhrUnavailableError(OperationalError):
    """The EHR did not answer, or not with an answer: whether it acted is unknown."""

    code = "ehr.unavailable"


class Clock(Protocol):
    """The moment, in UTC."""

    def now(self) -> datetime: ...


class Identities(Protocol):
    """Fresh identities."""

    def new(self) -> UUID: ...


class Reader(Protocol):
    """Understands the deliveries of one door; never raises for a bad record, it quarantines it."""

    def read(self, delivery: Delivery) -> Reading: ...


class ModelServer(Protocol):
    """The model process."""

    def fingerprint(self) -> ModelFingerprint:
        """Which model serves; raises ModelUnavailableError."""
        ...

    def forecast(self, request: PredictionRequest, timeline: Timeline) -> Forecast:
        """The answer of the model to a timeline already cut; raises ModelUnavailableError, ModelBusyError."""
        ...

    def answer(
        self, request: PredictionRequest, timeline: Timeline, memory: PatientMemory | None
    ) -> Answered:
        """The same forecast, bit for bit, going on from `memory`; and what is then remembered.

        `timeline` is the whole; of it the model is given what comes after `memory`.

        Raises:
            RefusedMemoryError: ask without it.
            ModelUnavailableError, ModelBusyError
        """
        ...


class PlanModel(Protocol):
    """The model process, as it compares plans."""

    def plannable(self, actions: tuple[str, ...]) -> tuple[bool, ...]:
        """Of each action, by `Code.key`, whether it can be planned; raises as `compare_plans` does."""
        ...

    def compare_plans(self, question: PlanQuestion, timeline: Timeline) -> PlanComparison:
        """The comparison, for a timeline already cut.

        Raises:
            ModelUnavailableError, ModelBusyError
            UnknownPlanActionError, UnusableGoalError, MalformedPlanQuestionError
        """
        ...


class EhrGateway(Protocol):
    """The EHR as something that can be told."""

    def write_back(self, write_back: WriteBack) -> str:
        """Tell the EHR once, however often called; returns the EHR's id of what it stored.

        Raises:
            EhrUnavailableError
        """
        ...


class Inbox(Protocol):
    """Deliveries, raw."""

    def add(self, delivery: Delivery) -> tuple[Reception, UUID]:
        """Store unless held; returns what became of it and the id of the row that holds these bytes."""
        ...

    def get(self, delivery_id: UUID) -> Delivery: ...

    def is_recorded(self, delivery_id: UUID) -> bool: ...

    def mark_recorded(self, delivery_id: UUID, at: datetime, reading: Reading) -> None: ...

    def quarantine(
        self, delivery_id: UUID, at: datetime, records: Sequence[Quarantined]
    ) -> None: ...

    def set_aside(self, limit: int, delivery_id: UUID | None = None) -> list[SetAside]:
        """What was quarantined, of all deliveries or of one, the newest first."""
        ...


class Outbox(Protocol):
    """Work owed."""

    def add(self, message: Message) -> bool:
        """Remember; False where one with its coalesce key already waits unstarted."""
        ...

    def claim(self, limit: int, now: datetime, lease: timedelta) -> list[Message]:
        """Take waiting messages that are due, and those whose lease ran out, for `lease` (SKIP LOCKED)."""
        ...

    def start(self, message_id: UUID, now: datetime, lease: timedelta) -> Message | None:
        """Count an attempt before the work; None where the message is done or given up."""
        ...

    def done(self, message_id: UUID, at: datetime) -> None: ...

    def retry(
        self, message_id: UUID, due_at: datetime, error_code: str, *, spends_attempt: bool = True
    ) -> None:
        """Put it back until `due_at`; waiting for an outside system (model, EHR) spends no attempt."""
        ...

    def give_up(self, message_id: UUID, at: datetime, error_code: str) -> None: ...

    def pending(self) -> int:
        """How many messages are neither done nor given up."""
        ...

    def given_up(self, limit: int) -> list[GivenUp]:
        """Messages that nobody tries any more, the newest first."""
        ...

    def redrive(self, message_id: UUID, at: datetime) -> bool:
        """Owe a given-up message again, with all attempts; False where none of this id was given up."""
        ...


class Timelines(Protocol):
    """Events of patients."""

    def add(self, events: Sequence[Event], patients: dict[UUID, PatientRef]) -> int:
        """Store those not yet held (by COPY); returns how many were new."""
        ...

    def of(self, patient_id: UUID) -> Timeline:
        """Everything held about a patient; empty where nothing is."""
        ...

    def patient(self, patient_id: UUID) -> PatientRef: ...

    def patient_ids(self) -> Iterator[UUID]: ...


class Predictions(Protocol):
    """Stored answers."""

    def find(
        self,
        *,
        input_digest: str,
        config_digest: str,
        manifest_digest: str,
        purpose: Purpose,
        patient_id: UUID,
    ) -> UUID | None:
        """The prediction that answered this very question, if any."""
        ...

    def answered_until(self, patient_id: UUID, purpose: Purpose) -> datetime | None:
        """Up to which receipt the best informed answer of this purpose read; None where there is none."""
        ...

    def add(self, prediction: Prediction) -> bool:
        """Store; False where this very question was already answered."""
        ...

    def get(self, prediction_id: UUID) -> Prediction: ...

    def all(self) -> Iterator[Prediction]:
        """Every prediction in the order of making, streamed."""
        ...

    def ensure_model(self, model: ModelFingerprint, at: datetime) -> bool:
        """Register the model version; True where it was new."""
        ...


class Memories(Protocol):
    """What models remember of patients: a few memories each, of one model."""

    def newest(
        self, patient_id: UUID, manifest_digest: str, prefixes: Sequence[Prefix]
    ) -> PatientMemory | None:
        """The memory of this model that reaches furthest, of those at one of `prefixes`."""
        ...

    def keep(self, memories: Sequence[PatientMemory]) -> None:
        """Store memories of one patient, and let go those that lie too close to others."""
        ...


class LatentStates(Protocol):
    """The latent states behind predictions, to be compared with each other."""

    def nearest(
        self, patient_id: UUID, manifest_digest: str, state: Sequence[float], limit: int
    ) -> list[Neighbour]:
        """The nearest other patients of the same site and model, nearest first.

        Each stands at their nearest moment of those after which something more became known.
        """
        ...

    def typical_distance(
        self, patient_id: UUID, manifest_digest: str, state: Sequence[float]
    ) -> float | None:
        """The median distance of all those others; None where there is nobody."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistQuery:
    """Which reviews, and where to go on. `after` is `(priority, review_id)` of the last item seen."""

    states: frozenset[ReviewState]
    claimed_by: str | None = None
    abstained: bool | None = None
    after: tuple[float, UUID] | None = None
    limit: int = 50


class Reviews(Protocol):
    """Reviews and their decisions."""

    def add(self, review: Review) -> None: ...

    def get(self, review_id: UUID) -> Review: ...

    def update(self, review: Review) -> None:
        """Store the next version; raises StaleVersionError unless the stored one is just before it."""
        ...

    def open_for(self, patient_id: UUID) -> list[Review]: ...

    def worklist(self, query: WorklistQuery) -> list[Review]:
        """Highest priority first, ties by id, at most `limit`."""
        ...

    def count(self, query: WorklistQuery) -> int: ...

    def add_decision(self, decision: Decision) -> None: ...

    def decision(self, review_id: UUID) -> Decision | None: ...


class PlanComparisons(Protocol):
    """Stored comparisons of plans."""

    def add(self, stored: StoredComparison) -> None: ...

    def get(self, comparison_id: UUID) -> StoredComparison:
        """The comparison; raises NotFoundError."""
        ...

    def of_review(self, review_id: UUID, *, limit: int) -> list[StoredComparison]:
        """What was compared for a review, the newest first."""
        ...


class AuditLog(Protocol):
    """Audit entries and the tree over them."""

    def append(self, entry: AuditEntry) -> None: ...

    def sequence(self, limit: int, at: datetime) -> int:
        """Give up to `limit` unsequenced entries their leaves and store a new head; how many."""
        ...

    def head(self) -> TreeHead: ...

    def sequenced(self, size: int | None = None) -> Iterator[tuple[int, AuditEntry, bytes]]:
        """Index, entry and stored leaf hash, in order, streamed: all, or the first `size`."""
        ...

    def leaf_of(self, entry_id: UUID) -> tuple[int, AuditEntry] | None:
        """Where the entry stands, and the entry; None where it has no leaf."""
        ...

    def nodes(self, wanted: Collection[Node]) -> Mapping[Node, bytes]:
        """The stored hashes of these perfect subtrees of the tree."""
        ...

    def heads(self) -> Iterator[TreeHead]:
        """Every stored head, oldest first."""
        ...

    def has_head(self, head: TreeHead) -> bool:
        """Whether the log once had this head."""
        ...

    def signed(self, name: str) -> TreeHead | None:
        """The largest head under which there is a signature of this name."""
        ...

    def signatures(self, size: int) -> list[Signature]:
        """Who signed the head of this size."""
        ...

    def add_signature(self, size: int, signature: Signature, at: datetime) -> None:
        """Keep it; nothing where the same key signed this head before."""
        ...

    def unsequenced(self) -> int: ...

    def history(self, **refs: str) -> list[AuditEntry]:
        """The entries that carry these refs, oldest first."""
        ...


class UnitOfWork(Protocol):
    """One transaction: rolled back unless committed."""

    @property
    def inbox(self) -> Inbox: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def timelines(self) -> Timelines: ...
    @property
    def predictions(self) -> Predictions: ...
    @property
    def memories(self) -> Memories: ...
    @property
    def states(self) -> LatentStates: ...
    @property
    def reviews(self) -> Reviews: ...
    @property
    def plan_comparisons(self) -> PlanComparisons: ...
    @property
    def audit_log(self) -> AuditLog: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def commit(self) -> None: ...


class OpenUnitOfWork(Protocol):
    """Begins a transaction."""

    def __call__(self) -> UnitOfWork: ...


def append_all(log: AuditLog, entries: Iterable[AuditEntry]) -> None:
    """Append each entry, in order."""
    for entry in entries:
        log.append(entry)
