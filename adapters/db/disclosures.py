"""What others may ask about: audit entries with whom they concern, and decided predictions.

Knows how an entry leads to a patient: by the review, the prediction or the delivery that it names.
The log itself never says.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Text,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from adapters.db.tables import (
    audit_entries,
    decisions,
    delivery_patients,
    messages,
    model_versions,
    patients,
    predictions,
    relooks,
    reviews,
    second_looks,
)
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.prediction import ModelFingerprint
from clinical.prediction.registry import ModelState
from clinical.review.decision import Verdict
from clinical.services.ports.disclosures import AuditedAct, AuditQuery, ToldQuery
from clinical.timeline.patient import PatientRef

_NEWEST_FIRST = (audit_entries.c.at.desc(), audit_entries.c.entry_id.desc())
_AT_ONCE = 1000
_AGREED = (Verdict.AGREE.value, Verdict.AGREE_WITH_CHANGES.value)
# Which ref leads to a patient, and whether it is a list of ids.
_BY_REVIEW, _BY_PREDICTION, _BY_DELIVERY = (
    ("review", "reviews"),
    ("prediction", "found"),
    "delivery",
)
_LISTS = ("reviews", "found")


class SqlDisclosures:
    """Implements the port `Disclosures` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def audited(self, query: AuditQuery) -> list[AuditedAct]:
        """Entries, the newest first."""
        chosen = select(audit_entries).order_by(*_NEWEST_FIRST).limit(query.limit)
        for condition in self._conditions(query):
            chosen = chosen.where(condition)
        return self._with_patients(self._connection.execute(chosen).mappings().all())

    def all_audited(self, since: datetime | None, until: datetime | None) -> Iterator[AuditedAct]:
        """Entries, the oldest first, streamed: the whole is never in memory."""
        chosen = select(audit_entries).order_by(audit_entries.c.at, audit_entries.c.entry_id)
        for condition in _within(audit_entries.c.at, since, until):
            chosen = chosen.where(condition)
        streamed = chosen.execution_options(yield_per=_AT_ONCE)
        for some in self._connection.execute(streamed).mappings().partitions():
            yield from self._with_patients(some)

    def told(self, query: ToldQuery) -> list[UUID]:
        """Reviews whose decision may be told, those decided last first."""
        chosen = _tellable().order_by(decisions.c.decided_at.desc(), decisions.c.review_id.desc())
        for condition in _within(decisions.c.decided_at, query.since, query.until):
            chosen = chosen.where(condition)
        if query.patient_id is not None:
            chosen = chosen.where(reviews.c.patient_id == query.patient_id)
        if query.prediction_id is not None:
            chosen = chosen.where(reviews.c.prediction_id == query.prediction_id)
        if query.after is not None:
            last = select(decisions.c.decided_at, decisions.c.review_id)
            chosen = chosen.where(
                tuple_(decisions.c.decided_at, decisions.c.review_id)
                < last.where(decisions.c.review_id == query.after).scalar_subquery()
            )
        return list(self._connection.scalars(chosen.limit(query.limit)))

    def patient(self, patient_id: UUID) -> PatientRef:
        """Whom the pseudonym stands for; raises NotFoundError."""
        row = self._connection.execute(
            select(patients.c.site, patients.c.record_id).where(patients.c.patient_id == patient_id)
        ).one_or_none()
        if row is None:
            raise NotFoundError("nothing has this identity")
        return PatientRef(row.site, row.record_id)

    def models(self) -> Sequence[ModelFingerprint]:
        """Every model that is known, the oldest first."""
        rows = self._connection.execute(
            select(model_versions).order_by(model_versions.c.registered_at)
        )
        return [
            ModelFingerprint(
                name=row.name,
                version=row.version,
                manifest_digest=row.manifest_digest,
                vocabulary_digest=row.vocabulary_digest,
            )
            for row in rows
        ]

    def _conditions(self, query: AuditQuery) -> Iterator[ColumnElement[bool]]:
        entries = audit_entries.c
        yield from _within(entries.at, query.since, query.until)
        if query.entry_id is not None:
            yield entries.entry_id == query.entry_id
        if query.actor is not None:
            yield entries.actor == query.actor
        if query.kind is not None:
            yield entries.kind == query.kind.value
        if query.about is not None:
            yield _names_any(("review", "prediction", "delivery", "entry"), [query.about])
        if query.patient_id is not None:
            yield self._concerns(query.patient_id)
        if query.after is not None:
            last = select(entries.at, entries.entry_id).where(entries.entry_id == query.after)
            yield tuple_(entries.at, entries.entry_id) < last.scalar_subquery()

    def _concerns(self, patient_id: UUID) -> ColumnElement[bool]:
        def ids(column: Column[UUID], of: Column[UUID]) -> list[UUID]:
            return list(self._connection.scalars(select(column).where(of == patient_id)))

        of_reviews = ids(reviews.c.review_id, reviews.c.patient_id)
        of_predictions = ids(predictions.c.prediction_id, predictions.c.patient_id)
        of_deliveries = ids(delivery_patients.c.delivery_id, delivery_patients.c.patient_id)
        return or_(
            _names_any(("review",), of_reviews),
            _names_any(("prediction",), of_predictions),
            _names_any(("delivery",), of_deliveries),
            _lists_any(AuditKind.WORKLIST_READ, "reviews", of_reviews),
            _lists_any(AuditKind.RESOURCES_SEARCHED, "found", of_predictions),
        )

    def _with_patients(self, rows: Iterable[RowMapping]) -> list[AuditedAct]:
        entries = [_entry(row) for row in rows]
        of_review = self._patients_of(
            reviews.c.review_id, reviews.c.patient_id, entries, *_BY_REVIEW
        )
        of_prediction = self._patients_of(
            predictions.c.prediction_id, predictions.c.patient_id, entries, *_BY_PREDICTION
        )
        of_delivery = self._patients_of(
            delivery_patients.c.delivery_id, delivery_patients.c.patient_id, entries, _BY_DELIVERY
        )
        origins = self._origins(entries)
        return [
            AuditedAct(
                entry=entry,
                patients=tuple(
                    dict.fromkeys(
                        patient
                        for known, names in (
                            (of_review, _BY_REVIEW),
                            (of_prediction, _BY_PREDICTION),
                            (of_delivery, (_BY_DELIVERY,)),
                        )
                        for each in _ids(entry, *names)
                        for patient in known.get(each, ())
                    )
                ),
                request_id=origins.get(entry.request_id) or entry.request_id,
            )
            for entry in entries
        ]

    def _patients_of(
        self, key: Column[UUID], patient: Column[UUID], entries: Sequence[AuditEntry], *names: str
    ) -> dict[UUID, list[UUID]]:
        wanted = {each for entry in entries for each in _ids(entry, *names)}
        found: defaultdict[UUID, list[UUID]] = defaultdict(list)
        for some in _some(wanted):
            rows = self._connection.execute(select(key, patient).where(key.in_(some)))
            for identity, patient_id in rows:
                found[identity].append(patient_id)
        return {identity: sorted(of) for identity, of in found.items()}

    def _origins(self, entries: Sequence[AuditEntry]) -> dict[str, str]:
        """By the id of a message, which its work has as its request, the request that it goes back to."""
        wanted = {each for entry in entries if (each := _uuid(entry.request_id)) is not None}
        found: dict[str, str] = {}
        for some in _some(wanted):
            rows = self._connection.execute(
                select(messages.c.message_id, messages.c.request_id).where(
                    messages.c.message_id.in_(some), messages.c.request_id.is_not(None)
                )
            )
            found |= {str(message_id): request_id for message_id, request_id in rows}
        return found


def _tellable() -> Select[tuple[UUID]]:
    waits = (
        select(relooks.c.review_id)
        .where(relooks.c.review_id == reviews.c.review_id)
        .where(
            ~select(second_looks.c.review_id)
            .where(
                second_looks.c.review_id == relooks.c.review_id,
                second_looks.c.recall_id == relooks.c.recall_id,
            )
            .exists()
        )
        .exists()
    )
    return (
        select(decisions.c.review_id)
        .join(reviews, reviews.c.review_id == decisions.c.review_id)
        .join(predictions, predictions.c.prediction_id == reviews.c.prediction_id)
        .join(model_versions, model_versions.c.manifest_digest == predictions.c.manifest_digest)
        .where(
            decisions.c.verdict.in_(_AGREED),
            predictions.c.abstention_reason.is_(None),
            model_versions.c.state != ModelState.STOPPED.value,
            ~waits,
            _says_a_risk(),
        )
    )


def _says_a_risk() -> ColumnElement[bool]:
    """R4's RiskAssessment has no place for a forecast that says none (see adapters/fhir/outbound.py)."""
    readout = func.jsonb_array_elements(predictions.c.readouts).table_valued(
        "value", name="readout"
    )
    value = cast(readout.c.value, JSONB)
    says = (value["kind"].astext == "probability") & (value["estimate"].astext.is_not(None))
    return select(literal(1)).select_from(readout).where(says).exists()


def _within(
    at: Column[datetime], since: datetime | None, until: datetime | None
) -> Iterator[ColumnElement[bool]]:
    if since is not None:
        yield at >= since
    if until is not None:
        yield at < until


def _names_any(names: Sequence[str], identities: Sequence[UUID]) -> ColumnElement[bool]:
    """Through the GIN index: an entry that holds one of these pairs."""
    pairs = [{name: str(each)} for name in names for each in identities]
    wanted = cast([_json(pair) for pair in pairs], ARRAY(JSONB))
    return audit_entries.c.refs.op("@>", is_comparison=True)(func.any(wanted))


def _lists_any(kind: AuditKind, name: str, identities: Sequence[UUID]) -> ColumnElement[bool]:
    listed = func.string_to_array(audit_entries.c.refs[name].astext, " ")
    wanted = cast([str(each) for each in identities], ARRAY(Text))
    return (audit_entries.c.kind == kind.value) & listed.op("&&", is_comparison=True)(wanted)


def _json(pair: dict[str, str]) -> Any:
    return pair


def _ids(entry: AuditEntry, *names: str) -> Iterator[UUID]:
    for name in names:
        for each in (
            entry.refs.get(name, "").split(" ") if name in _LISTS else [entry.refs.get(name, "")]
        ):
            identity = _uuid(each)
            if identity is not None:
                yield identity


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _some(wanted: set[UUID]) -> Iterator[tuple[UUID, ...]]:
    ordered = sorted(wanted)
    for start in range(0, len(ordered), _AT_ONCE):
        yield tuple(ordered[start : start + _AT_ONCE])


def _entry(row: RowMapping) -> AuditEntry:
    return AuditEntry(
        entry_id=row["entry_id"],
        at=row["at"],
        kind=AuditKind(row["kind"]),
        actor=row["actor"],
        refs=row["refs"],
        request_id=row["request_id"],
    )
