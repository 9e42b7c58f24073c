"""What the database holds of one row's deliveries, asked in SQL, and what of it is wrong.

Knows tables. `tag` begins every sender id and record id of the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from clinical.review.review import LEASE
from clinical.services.ports import OpenUnitOfWork
from tests.chaos.checker import Lease, Violation, Wrong, audited, effects, inbox, leases, register
from tests.chaos.history import Operation, Outcome

_ENTRIES = """
    SELECT refs->>%(ref)s AS named, count(*) FROM audit_entries
    WHERE kind = ANY(%(kinds)s) AND refs->>%(ref)s IS NOT NULL GROUP BY 1
"""
_MOVES = ["claimed", "released", "signed", "superseded", "withdrawn"]
# Each names what must not be there, and finds it.
_TWICE = {
    "fact stored twice": """
        SELECT record_type || '/' || record_id FROM events
        WHERE record_type = 'Observation' AND record_id LIKE %(tag)s GROUP BY 1 HAVING count(*) > 1
    """,
    "question answered twice": """
        SELECT patient_id::text FROM predictions JOIN patients USING (patient_id)
        WHERE record_id LIKE %(tag)s
        GROUP BY patient_id, input_digest, manifest_digest, config_digest, purpose
        HAVING count(*) > 1
    """,
    "two open reviews of one patient": """
        SELECT patient_id::text FROM reviews JOIN patients USING (patient_id)
        WHERE record_id LIKE %(tag)s AND state IN ('queued', 'claimed')
        GROUP BY patient_id HAVING count(*) > 1
    """,
    "two reviews of one prediction": """
        SELECT prediction_id::text FROM reviews JOIN patients USING (patient_id)
        WHERE record_id LIKE %(tag)s GROUP BY prediction_id HAVING count(*) > 1
    """,
}


@dataclass(slots=True)
class Truth:
    """What is stored of a row."""

    deliveries: dict[str, tuple[str, bool]] = field(default_factory=dict)  # id, is recorded
    num_copies: dict[str, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)


def read(
    connection: psycopg.Connection,
    tag: str,
    delivered: Sequence[Operation],
    moved: Sequence[Operation],
) -> Truth:
    """Compare what clients were told with what is stored."""
    like = f"{tag}-%"
    truth = Truth()
    for sender_id, delivery_id, is_recorded in connection.execute(
        "SELECT sender_id, delivery_id::text, recorded_at IS NOT NULL FROM deliveries"
        " WHERE sender_id LIKE %s",
        [like],
    ):
        truth.deliveries[sender_id] = (delivery_id, is_recorded)
        truth.num_copies[sender_id] = truth.num_copies.get(sender_id, 0) + 1
    found = truth.violations
    found += inbox(delivered, truth.num_copies)
    found += _work(connection, truth, like)
    for words, query in _TWICE.items():
        keys = connection.execute(query.encode(), {"tag": like})
        found += [Violation(Wrong.DUPLICATE, key, words) for (key,) in keys]
    found += _reviews(connection, like, moved)
    found += leases(holds(moved))
    found += _gaps(connection, truth, like)
    return truth


def _entries(connection: psycopg.Connection, ref: str, *kinds: str) -> dict[str, int]:
    found = connection.execute(_ENTRIES, {"ref": ref, "kinds": [f"{kind}.v1" for kind in kinds]})
    return dict(found.fetchall())


def _ids(connection: psycopg.Connection, query: str, like: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(query.encode(), {"tag": like})]


def _work(connection: psycopg.Connection, truth: Truth, like: str) -> list[Violation]:
    """Each stored delivery is recorded once, each patient with events answered, each write-back done."""
    recorded = _entries(connection, "delivery", "events.recorded")
    owed = [delivery_id for delivery_id, _ in truth.deliveries.values()]
    found = effects(owed, {key: recorded.get(key, 0) for key in owed})
    patients = _ids(
        connection, "SELECT patient_id FROM patients WHERE record_id LIKE %(tag)s", like
    )
    answered = set(
        _ids(
            connection,
            "SELECT DISTINCT patient_id FROM predictions JOIN patients USING (patient_id)"
            " WHERE record_id LIKE %(tag)s",
            like,
        )
    )
    found += [
        Violation(Wrong.LOST, each, "events, and no prediction")
        for each in patients
        if each not in answered
    ]
    reviews = set(_review_ids(connection, like))
    queued = _entries(connection, "review", "writeback.queued").keys() & reviews
    done = _entries(connection, "review", "writeback.done")
    return found + effects(queued, {key: done.get(key, 0) for key in queued})


def _review_ids(connection: psycopg.Connection, like: str) -> list[str]:
    query = "SELECT review_id FROM reviews JOIN patients USING (patient_id) WHERE record_id LIKE %(tag)s"
    return _ids(connection, query, like)


def _reviews(
    connection: psycopg.Connection, like: str, moved: Sequence[Operation]
) -> list[Violation]:
    versions = dict(
        connection.execute(
            "SELECT review_id::text, version FROM reviews JOIN patients USING (patient_id)"
            " WHERE record_id LIKE %s",
            [like],
        ).fetchall()
    )
    ours = _entries(connection, "review", "review.superseded", "review.withdrawn")
    found = register([each for each in moved if each.key in versions], versions, ours)
    entries = _entries(connection, "review", *(f"review.{move}" for move in _MOVES))
    found += [
        Violation(Wrong.AUDIT_GAP, key, f"{version - 1} moves, {entries.get(key, 0)} entries")
        for key, version in versions.items()
        if entries.get(key, 0) != version - 1
    ]
    return found


def holds(moved: Sequence[Operation]) -> list[Lease]:
    """From when until when a clinician surely held a review: from the answer to the next move of theirs."""
    found = []
    for each in moved:
        if each.asked["move"] != "claim" or each.outcome is not Outcome.OK:
            continue
        later = [
            move.began
            for move in moved
            if (move.who, move.key) == (each.who, each.key) and move.began > each.ended
        ]
        end = min([each.ended + LEASE.total_seconds(), *later])
        version = each.told["version"]
        found.append(Lease(key=each.key, who=each.who, fence=version, start=each.ended, end=end))
    return found


def _gaps(connection: psycopg.Connection, truth: Truth, like: str) -> list[Violation]:
    """Each governed row has its entry, and has it once."""
    its = "JOIN patients USING (patient_id) WHERE record_id LIKE %(tag)s"
    governed = {
        ("delivery", "delivery.received"): [each for each, _ in truth.deliveries.values()],
        ("review", "review.opened"): _review_ids(connection, like),
        ("prediction", "prediction.stored"): _ids(
            connection, f"SELECT prediction_id FROM predictions {its}", like
        ),
        ("decision", "review.signed"): _ids(
            connection,
            f"SELECT decision_id FROM decisions JOIN reviews USING (review_id) {its}",
            like,
        ),
    }
    found = []
    for (ref, kind), rows in governed.items():
        entries = _entries(connection, ref, kind)
        found += audited(rows, entries)
        found += effects((), {row: entries.get(row, 0) for row in rows})
    return found


def stale(open_unit_of_work: OpenUnitOfWork, patients: Sequence[UUID]) -> list[Violation]:
    """Patients whose newest answer rests on less than all that is held about them."""
    found = []
    for patient_id in patients:
        with open_unit_of_work() as uow:
            held = uow.timelines.of(patient_id)
            reviews = uow.reviews.open_for(patient_id)
            answers = [uow.predictions.get(each.prediction_id) for each in reviews]
        for answer in answers:
            asked = answer.request
            used = held.cut(asked.as_of, received_by=asked.received_by)
            if len(used) < len(held):
                words = "the open review rests on less than what is held"
                found.append(Violation(Wrong.LOST, str(patient_id), words))
    return found
