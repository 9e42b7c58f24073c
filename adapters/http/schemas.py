"""What the API takes and gives. Output fields have no defaults: what is absent is said to be null.

Knows the published shapes. The patient appears as sex and age, never by name or id.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from adapters.http.feedback_schemas import CardFeedbackShape
from adapters.http.notice_schemas import WarningShape
from adapters.http.shape import Shape
from clinical.prediction.abstention import AbstentionReason
from clinical.prediction.prediction import Grade
from clinical.prediction.readout import ReadoutKind
from clinical.prediction.staleness import StaleReason
from clinical.review.decision import Reason, Verdict
from clinical.review.review import ReviewState
from clinical.timeline.event import EventKind, Origin, Phase, Standing


class Problem(Shape):
    """An error as RFC 9457 describes it; `type` ends in our stable code."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its published description."""
    return {
        status: {
            "description": "A problem document.",
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        }
        for status in statuses
    }


class Credentials(Shape):
    """A name and a password."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    password: Annotated[str, Field(min_length=1, max_length=1000, repr=False)]


class SignedIn(Shape):
    """Who is signed in."""

    name: str
    display_name: str
    role: str
    ends_at: datetime


class DeliveryReceipt(Shape):
    """The bytes are stored; what they mean is worked out later."""

    delivery_id: UUID
    digest: str
    status: Literal["accepted"]


class CallbackAnswer(Shape):
    """What Nabla Connect expects."""

    request_uuid: str


class Patient(Shape):
    """A patient without a name. `age_years` is None below two years or where birth is unknown."""

    sex: str | None
    age_years: int | None
    age: str | None


class WithheldReason(Shape):
    """Why nothing is said."""

    reason: AbstentionReason
    detail: str


class HorizonWindow(Shape):
    """The window after `as_of` that is spoken of; `end_hours` is None for "until discharge"."""

    label: str
    start_hours: float
    end_hours: float | None


class ReviewStatus(Shape):
    """Where a review stands. `version` is what If-Match must carry, as `"v<version>"`."""

    review_id: UUID
    state: ReviewState
    version: int
    priority: float
    opened_at: datetime
    held_by: str | None
    held_until: datetime | None
    is_mine: bool
    closed_at: datetime | None
    closed_reason: str


class WorklistLine(Shape):
    """One review in the worklist: the highest risk said, or why none is."""

    review: ReviewStatus
    patient: Patient
    as_of: datetime
    headline: str | None
    horizon: HorizonWindow | None
    estimate: float | None
    withheld: WithheldReason | None
    warnings: list[WarningShape]


class Worklist(Shape):
    """A page of the worklist, highest priority first; `next_cursor` is None at its end."""

    reviews: list[WorklistLine]
    total: int
    next_cursor: str | None


class IntervalShape(Shape):
    """`[low, high]` said to cover `level`."""

    low: float
    high: float
    level: float


class Reliability(Shape):
    """Of `count` calibration patients predicted like this one, the share `observed` had it."""

    observed: float
    count: int
    mean_predicted: float


class Estimate(Shape):
    """What is said for one horizon: an estimate with its intervals, or why there is none."""

    name: str
    kind: ReadoutKind
    horizon: HorizonWindow
    estimate: float | None
    intervals: list[IntervalShape]
    calibration_id: str
    reliability: Reliability | None
    evidence: list[UUID]
    withheld: WithheldReason | None


class RiskCourse(Shape):
    """One risk over all horizons."""

    name: str
    label: str
    estimates: list[Estimate]


class Measurement(Shape):
    """A measured value; `comparator` where the instrument gave only a bound."""

    event_id: UUID
    at: datetime
    value: float
    comparator: str | None


class QuantityCourse(Shape):
    """A quantity as it was measured and as it is forecast, both in `unit`.

    Measurements in another unit are counted, never converted here; older ones are left out beyond
    `max` and counted too.
    """

    name: str
    label: str
    code: str
    unit: str
    measured: list[Measurement]
    num_older: int
    num_in_other_units: int
    estimates: list[Estimate]


class LatentStep(Shape):
    """The predicted latent of one horizon in three numbers.

    `movement` is its root-mean-square distance from the first horizon's latent, `spread` the
    root-mean-square disagreement of the predictor heads: the same unit, so they can be compared.
    """

    horizon: HorizonWindow
    norm: float
    movement: float
    spread: float


class Trajectory(Shape):
    """The latent trajectory in summary."""

    width: int
    digest: str
    steps: list[LatentStep]


class Familiarity(Shape):
    """How like the training patients this one is: `distance` 1 is the limit of abstention."""

    distance: float | None
    unseen_code_share: float


class SourceShape(Shape):
    """The record version that a fact was read from."""

    reference: str
    site: str
    digest: str
    delivery_id: UUID
    received_at: datetime
    updated_at: datetime | None


class Fact(Shape):
    """An event with its source; `occurred` is as it was written, with the precision it had."""

    event_id: UUID
    kind: EventKind
    label: str
    code: str
    value: str
    occurred: str | None
    known_at: datetime
    standing: Standing
    origin: Origin
    flags: list[str]
    source: SourceShape


class Evidence(Shape):
    """A fact, and the readouts that lean on it."""

    fact: Fact
    supports: list[str]


class Model(Shape):
    """Which model answers."""

    name: str
    version: str
    manifest_digest: str
    vocabulary_digest: str


class CapsuleShape(Shape):
    """What is needed to compute the prediction again: bit for bit (R0), or to a thousandth (R1).

    `digest` is of the whole capsule, as the audit entry names it; counts are null where an answer was
    stored before they were recorded.
    """

    prediction_id: UUID
    digest: str
    grade: Grade
    made_at: datetime
    input_digest: str
    output_digest: str
    config_digest: str
    model: Model
    code_version: str
    torch_version: str
    device: str
    seed: int
    num_events: int
    num_records: int | None
    num_deliveries: int | None


class DecisionShape(Shape):
    """What was decided."""

    decision_id: UUID
    verdict: Verdict
    reasons: list[Reason]
    note: str
    decided_by: str
    decided_at: datetime
    prediction_digest: str
    digest: str


class Stale(Shape):
    """That facts which a prediction read no longer stand: why, and since when."""

    reason: StaleReason
    since: datetime


class ReviewItem(Shape):
    """All that a clinician needs to judge a prediction. `stale` is None while what it read stands."""

    review: ReviewStatus
    patient: Patient
    as_of: datetime
    num_events: int
    withheld: WithheldReason | None
    risks: list[RiskCourse]
    quantities: list[QuantityCourse]
    trajectory: Trajectory | None
    familiarity: Familiarity
    evidence: list[Evidence]
    capsule: CapsuleShape
    decision: DecisionShape | None
    stale: Stale | None
    warnings: list[WarningShape]
    card_feedback: list[CardFeedbackShape]


class Mark(Shape):
    """Something drawn in a lane: one fact, or `count` facts close in time.

    `until` is set for lasting facts; `fact` is the newest of those it stands for.
    """

    at: datetime
    until: datetime | None
    is_time_stated: bool
    count: int
    phase: Phase
    fact: Fact


class Lane(Shape):
    """The marks of one sort, in order of time."""

    name: str
    marks: list[Mark]


class TimelineShape(Shape):
    """What was known at `as_of`.

    Every event is a mark, or part of a joined one (`count`), or static (`num_static`: birth, sex),
    or ended before the time asked for (`num_earlier`): the counts add up to `num_events`.
    """

    as_of: datetime
    num_events: int
    num_static: int
    num_earlier: int
    num_marks: int
    lanes: list[Lane]


class Signature(Shape):
    """A decision to be signed."""

    verdict: Verdict
    reasons: Annotated[list[Reason], Field(max_length=len(Reason))] = []  # noqa: RUF012 - pydantic copies it
    note: Annotated[str, Field(max_length=4000)] = ""


class EntryShape(Shape):
    """An audit entry."""

    entry_id: UUID
    at: datetime
    kind: str
    actor: str
    refs: dict[str, str]
    request_id: str


class History(Shape):
    """The audit entries of a review and its prediction, oldest first."""

    entries: list[EntryShape]


class Head(Shape):
    """The size of the audit log and the root over all its leaves, in hex."""

    size: int
    root: str


class InclusionProof(Shape):
    """Proof that an entry stands in the log (RFC 6962); all hashes in hex.

    `SHA-256(0x00 || canonical_entry)` is the leaf; with `path` it leads to the root of `head`.
    """

    canonical_entry: str
    leaf: str
    index: int
    path: list[str]
    head: Head


class GrowthProof(Shape):
    """Proof that a log begins with a shorter one (RFC 6962 section 2.1.2); hashes in hex."""

    path: list[str]


class Accepted(Shape):
    """How many cosignatures were kept."""

    num_accepted: int


class Live(Shape):
    """The process answers."""

    status: Literal["live"]


class Part(Shape):
    """One thing that the web process depends on."""

    is_well: bool
    detail: str


class Able(Shape):
    """What can be done now, each by itself."""

    take_deliveries: bool
    understand_deliveries: bool
    predict: bool
    review: bool
    prove: bool


class Ready(Shape):
    """Whether work can be done: `degraded` takes deliveries in and lets reviews be signed."""

    status: Literal["ready", "degraded", "unavailable"]
    can: Able
    database: Part
    revision: Part
    worker: Part
    broker: Part
    model: Part
    ledger: Part
    disk: Part
    model_digest: str | None
    outbox_backlog: int | None
