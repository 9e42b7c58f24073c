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
from clinical.prediction.registry import ModelStep, RegisteredModel
from clinical.prediction.request import PredictionRequest, Purpose
from clinical.prediction.similar import Neighbour
from clinical.review.decision import Decision
from clinical.review.recall import (
    Findings,
    Recall,
    RecallKind,
    RecordName,
    Relook,
    Touched,
    TouchedPrediction,
)
from clinical.review.review import Review, ReviewState
from clinical.review.writeback import WriteBack
from clinical.services.delivery import Delivery, Door, Quarantined, Reading, Reception, SetAside
from clinical.services.messages import (
    Backlog,
    Buried,
    DeadLetter,
    GivenUp,
    Message,
    Urgency,
)
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
    """Fresh identities, and salts that nobody can guess."""

    def new(self) -> UUID: ...

    def salt(self) -> bytes:
        """32 random bytes."""
        ...


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

    def digests(self, delivery_ids: Collection[UUID]) -> dict[UUID, str]:
        """What was noted at the door of each that is held: the hex SHA-256 of its bytes, empty once erased."""
        ...

    def altered(self, delivery_ids: Collection[UUID]) -> list[UUID]:
        """Those held whose bytes, hashed again, are not those that came."""
        ...

    def is_recorded(self, delivery_id: UUID) -> bool: ...

    def mark_recorded(self, delivery_id: UUID, at: datetime, reading: Reading) -> None: ...

    def quarantine(
        self, delivery_id: UUID, at: datetime, records: Sequence[Quarantined]
    ) -> None: ...

    def set_aside(self, limit: int, delivery_id: UUID | None = None) -> list[SetAside]:
        """What was quarantined, of all deliveries or of one, the newest first."""
        ...


class Outbox(Protocol):
    """Work owed. What is due and who holds what is told by one clock, the database's.

    Whatever settles a message (`done`, `retry`, `give_up`) raises TakenOverError where it changed
    hands since it was taken, and then the whole transaction is to be given up.
    """

    def add(self, message: Message) -> bool:
        """Remember; False where one with its coalesce key already waits unstarted.

        The one that waits becomes as urgent as the more urgent of the two.
        """
        ...

    def claim(
        self, limit: int, lease: timedelta, *, least: Urgency = Urgency.BACKFILL
    ) -> list[Message]:
        """Take, for `lease`, messages that are due and that nobody holds (SKIP LOCKED).

        The most urgent first; none that is less urgent than `least`.
        """
        ...

    def start(
        self, message_id: UUID, lease: timedelta, *, takes_over: bool = True
    ) -> Message | None:
        """Count an attempt before the work; None where there is nothing to do.

        Unless it `takes_over`, that is also so while another worker's lease runs.
        """
        ...

    def extend(self, message: Message, lease: timedelta) -> bool:
        """Hold it for `lease` from now on; False where it is settled, put back, or changed hands."""
        ...

    def done(self, message: Message) -> None: ...

    def retry(
        self,
        message: Message,
        after: timedelta,
        error_code: str,
        *,
        spends_attempt: bool = True,
    ) -> None:
        """Put it back for so long; waiting for an outside system (model, EHR) spends no attempt."""
        ...

    def give_up(self, message: Message, error_code: str) -> None: ...

    def owed(self, message_id: UUID) -> Message | None:
        """The message as it stands, locked until the transaction ends; None unless it is owed."""
        ...

    def release_unbegun(self, lease: timedelta, patience: timedelta) -> int:
        """Let go of what was claimed for `lease`, longer than `patience` ago, and never begun; how many."""
        ...

    def backlog(self, most: int) -> Backlog:
        """The live work owed, counted up to `most`."""
        ...

    def pending(self) -> int:
        """How many messages are neither done nor given up."""
        ...

    def given_up(self, limit: int) -> list[GivenUp]:
        """Messages that nobody tries any more, the newest first."""
        ...

    def redrive(self, message_id: UUID) -> bool:
        """Owe a given-up message again, with all attempts; False where none of this id was given up."""
        ...

    def held_up(self, error_codes: Collection[str]) -> int:
        """How many messages wait because of one of these."""
        ...


class DeadLetters(Protocol):
    """What the broker would not deliver any more, without its content."""

    def bury(self, letter: DeadLetter) -> int:
        """Keep it; how often these bytes have come by now."""
        ...

    def buried(self, limit: int) -> list[Buried]:
        """Those that came last first."""
        ...

    def forget(self, message_id: UUID) -> None:
        """Count anew for this message."""
        ...


class Forgotten(Protocol):
    """Stored work that nothing owes any more, though every transaction that stores it also owes it."""

    def lock(self) -> bool:
        """Be the only one who looks until the transaction ends; False where somebody else does."""
        ...

    def deliveries(self, limit: int) -> list[tuple[UUID, Door]]:
        """Deliveries that were not understood and that no message is owed or was given up for."""
        ...

    def write_backs(self, limit: int) -> list[UUID]:
        """Reviews of which the log says that the EHR is to be told, and no message ever did."""
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

    def holders(self, record: RecordName) -> Mapping[str, Collection[UUID]]:
        """By site the patients of whom some event was read from this record."""
        ...


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


class Models(Protocol):
    """The model registry."""

    def find(self, manifest_digest: str) -> RegisteredModel | None: ...

    def share(self, manifest_digest: str) -> RegisteredModel | None:
        """The model as it stands until this transaction ends: nobody moves it before."""
        ...

    def hold(self, manifest_digest: str) -> RegisteredModel:
        """For who is about to move it: nobody shares it meanwhile; raises NotFoundError."""
        ...

    def named(self, named: str) -> list[RegisteredModel]:
        """Those with this name, or with a digest that begins so."""
        ...

    def all(self) -> list[RegisteredModel]:
        """The newest first."""
        ...

    def update(self, model: RegisteredModel) -> None:
        """Store the next version of a model that is held."""
        ...

    def add_step(self, step: ModelStep) -> None: ...

    def history(self, manifest_digest: str) -> list[ModelStep]:
        """Oldest first."""
        ...

    def is_undecided(self) -> bool:
        """Whether nothing was ever decided about any model; until the transaction ends nobody else asks."""
        ...

    def of_concern(self) -> list[RegisteredModel]:
        """Stopped models that open reviews rest on; all stopped ones where no model is promoted."""
        ...

    def num_steps(self) -> int:
        """How many steps all histories have together: it changes with every move."""
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
    needs_relook: bool = False
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

    def note_written_back(self, review_id: UUID, ehr_id: str, at: datetime) -> None:
        """Remember under which id the EHR holds what it was told; the first stands."""
        ...


class Recalls(Protocol):
    """Recalls, what they find, and who is to look again. Nothing here deletes."""

    def get(self, recall_id: UUID) -> Recall: ...

    def find(self, kind: RecallKind, target: str) -> Recall | None: ...

    def add(self, recall: Recall) -> bool:
        """Store; False where this target was recalled before."""
        ...

    def num_all(self) -> int: ...

    def asked_of(
        self, patient_ids: Collection[UUID]
    ) -> list[tuple[UUID, UUID, datetime, datetime]]:
        """Patient, prediction, `as_of` and `received_by` of every prediction about these patients."""
        ...

    def findings(self, touched: Touched) -> Findings: ...

    def signed(self, touched: Touched, limit: int) -> list[TouchedPrediction]:
        """Those that somebody signed, the newest signature first."""
        ...

    def all_touched(self, touched: Touched) -> Iterator[TouchedPrediction]:
        """Every one, in the order of identity, streamed."""
        ...

    def open_reviews(self, touched: Touched, limit: int) -> list[Review]:
        """Some that are open, held until the transaction ends."""
        ...

    def ask_relooks(
        self, recall: Recall, touched: Touched, at: datetime, *, after: UUID | None, limit: int
    ) -> tuple[list[UUID], UUID | None]:
        """Mark signed reviews beyond `after`; which were not marked before, and where to go on."""
        ...

    def relooks(self, review_ids: Collection[UUID]) -> list[Relook]:
        """Every mark on these reviews, the oldest first."""
        ...

    def looked_again(self, review_id: UUID, by: str, at: datetime) -> int:
        """Answer every mark of the review that nobody has answered; how many."""
        ...

    def num_to_look_at(self) -> int:
        """How many reviews wait for another look."""
        ...


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

    def append(self, entry: AuditEntry) -> None:
        """Store the entry, and apart from it the salt of what it seals."""
        ...

    def salts(self, entry_ids: Collection[UUID]) -> Mapping[UUID, bytes]:
        """The salts that are still held of these entries."""
        ...

    def num_erased(self) -> int:
        """Of how many entries erasures said that their salts are gone."""
        ...

    def num_bad_nodes(self, size: int) -> int:
        """How many inner nodes of the tree over `size` leaves are missing or not what is below them."""
        ...

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

    def signed(self, name: str, key_id: bytes | None = None) -> TreeHead | None:
        """The largest head with a signature of this name, and of this key if one is given."""
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


class Payloads(Protocol):
    """What audit entries vouch for, as it is stored now."""

    def contents(self, entries: Collection[AuditEntry]) -> Mapping[UUID, Mapping[str, str] | None]:
        """By entry the sealed content of the row it names, computed again; None where that is gone.

        Entries that seal what is not stored, such as the bytes of a refused delivery, are left out.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How much of a patient was erased. `num_shared` of the deliveries told of others too."""

    num_events: int
    num_deliveries: int
    num_shared: int
    num_predictions: int
    num_comparisons: int
    num_reviews: int
    num_decisions: int
    num_sealed: int  # audit entries whose salts are gone


class Erasure(Protocol):
    """Makes what is stored of a patient unrecoverable from the tables."""

    def extent(self, patient_id: UUID) -> Erased:
        """What `erase` would erase; until the transaction ends nothing is added to it."""
        ...

    def erase(self, patient_id: UUID, at: datetime) -> None:
        """Delete all rows about the patient, the bytes of every delivery that told of them, and salts.

        After `extent`, and after the entry of kind `patient.erased.v1` in the same transaction:
        without one nothing of the past may be deleted.
        """
        ...


class UnitOfWork(Protocol):
    """One transaction: rolled back unless committed."""

    @property
    def inbox(self) -> Inbox: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def dead_letters(self) -> DeadLetters: ...
    @property
    def forgotten(self) -> Forgotten: ...
    @property
    def timelines(self) -> Timelines: ...
    @property
    def predictions(self) -> Predictions: ...
    @property
    def models(self) -> Models: ...
    @property
    def memories(self) -> Memories: ...
    @property
    def states(self) -> LatentStates: ...
    @property
    def reviews(self) -> Reviews: ...
    @property
    def recalls(self) -> Recalls: ...
    @property
    def plan_comparisons(self) -> PlanComparisons: ...
    @property
    def audit_log(self) -> AuditLog: ...
    @property
    def payloads(self) -> Payloads: ...
    @property
    def erasure(self) -> Erasure: ...

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
