"""`clinical bench recall`: what a recall finds among a million predictions, on an embedded PostgreSQL.

The rows are made up in SQL and written by the owner of the database with triggers and foreign keys
off; the questions are asked by the services, as `clinical recall` asks them. Nothing is changed.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.review.recall import RecordName
from clinical.services.recall import RecallService, Target
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.timing import middle

COMMAND = "clinical bench recall"
GOAL_MS = 1000.0
PREDICTIONS_OF_A_PATIENT = 10
_SHOWN = 20
_LARGE, _SMALL = "1a" * 32, "2b" * 32

# Of every hundred predictions one is by the small model. Of ten of a patient the last is open or
# signed; the others were superseded, and every tenth of those signed before.
_FILL = (
    "SET session_replication_role = replica",
    """INSERT INTO model_versions (manifest_digest, name, version, vocabulary_digest, registered_at)
    SELECT digest, digest, '1', digest, now() FROM unnest(ARRAY[:large, :small]) AS digest""",
    """INSERT INTO events (event_id, patient_id, available_at, received_at, kind, phase, standing,
        origin, part, code_system, code_value, code_display, status, category, encounter,
        absent_reason, site, record_type, record_id, version, digest, delivery_id)
    SELECT md5(n::text)::uuid, lpad(to_hex(n / 12), 32, '0')::uuid, moment, moment,
        'observation', 'point', 'asserted', 'ehr', '', 'http://loinc.org', '8867-4', 'Heart rate',
        'final', '', '', '', 'ward', 'Observation', 'o-' || n, '1', md5(n::text), md5('d')::uuid
    FROM generate_series(0, 12 * :patients - 1) AS n,
        LATERAL (SELECT timestamptz '2026-01-01' + (n % 12) * interval '1 day' AS moment) AS m""",
    """INSERT INTO predictions (prediction_id, patient_id, as_of, received_by, made_at, purpose,
        request, input_digest, config_digest, manifest_digest, capsule, latents, state, readouts,
        unseen_code_share, output_digest)
    SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n / 10), 32, '0')::uuid, moment, moment,
        moment, 'review', '{"horizons": [], "actions": [], "seed": 0}', md5(n::text), 'c',
        CASE WHEN n % 100 = 0 THEN :small ELSE :large END, '{"name": "m", "version": "1"}',
        decode(repeat(md5(n::text), 10), 'hex'), decode(repeat(md5(n::text), 5), 'hex'),
        jsonb_build_array(repeat(md5(n::text), 25)), 0, md5(n::text)
    FROM generate_series(0, 10 * :patients - 1) AS n,
        LATERAL (SELECT timestamptz '2026-01-02' + (n % 10) * interval '1 day' AS moment) AS m""",
    """INSERT INTO reviews (review_id, prediction_id, patient_id, priority, opened_at, state,
        version, fence, closed_reason)
    SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n), 32, '0')::uuid,
        lpad(to_hex(n / 10), 32, '0')::uuid, (n % 97) / 97.0, now(),
        CASE WHEN n % 10 = 9 AND n % 200 < 100 THEN 'queued'
            WHEN n % 10 IN (0, 9) THEN 'signed' ELSE 'superseded' END, 1, 0, ''
    FROM generate_series(0, 10 * :patients - 1) AS n""",
    """INSERT INTO decisions (decision_id, review_id, verdict, reasons, note, decided_by, decided_at,
        prediction_digest)
    SELECT gen_random_uuid(), review_id, 'agree', '{}', '', 'dr-' || ascii(right(review_id::text, 1)),
        now(), '' FROM reviews WHERE state = 'signed'""",
    """INSERT INTO audit_entries (entry_id, at, kind, actor, refs, request_id)
    SELECT gen_random_uuid(), now(), 'review.read.v1', 'dr-' || ascii(right(review_id::text, 1)),
        jsonb_build_object('review', review_id), '' FROM reviews WHERE state = 'signed'""",
    """INSERT INTO audit_entries (entry_id, at, kind, actor, refs, request_id)
    SELECT gen_random_uuid(), now(), 'review.opened.v1', 'worker',
        jsonb_build_object('review', review_id, 'prediction', prediction_id), '' FROM reviews""",
    "SET session_replication_role = origin",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A recall to be timed: how its target is found, and in words."""

    name: str
    words: str
    find: Callable[[RecallService], Target]


def run(
    *, num_predictions: int, repetitions: int, say: Callable[[str], None]
) -> list[BenchmarkRow]:
    """Measure; the rows `recall.large_model_ms`, `recall.small_model_ms`, `recall.input_ms`."""
    with _filled(num_predictions // PREDICTIONS_OF_A_PATIENT, say) as engine:
        service = RecallService(
            open_unit_of_work=unit_of_work_factory(engine),
            clock=SystemClock(),
            identities=TimeOrderedIdentities(),
        )
        return [
            _row(question, service, num_predictions, repetitions, say)
            for question in _questions(num_predictions)
        ]


def _questions(num_predictions: int) -> list[_Question]:
    record = RecordName(record_type="Observation", record_id=f"o-{num_predictions // 2}")
    return [
        _Question(
            name="large_model",
            words="a model that made 99 of every 100",
            find=lambda service: service.of_model(_LARGE),
        ),
        _Question(
            name="small_model",
            words="a model that made 1 of every 100",
            find=lambda service: service.of_model(_SMALL),
        ),
        _Question(
            name="input",
            words="one record of one patient, found by its id and confirmed by cutting the timeline",
            find=lambda service: service.of_record(record),
        ),
    ]


@contextmanager
def _filled(num_patients: int, say: Callable[[str], None]) -> Iterator[Engine]:
    with (
        tempfile.TemporaryDirectory(prefix="clinical-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        upgrade(server.url)
        engine = create_engine(server.url)
        values = {"patients": num_patients, "large": _LARGE, "small": _SMALL}
        with engine.connect() as connection:
            for number, statement in enumerate(_FILL):
                say(f"Making up rows, {number + 1} of {len(_FILL)} …")
                needed = {name: values[name] for name in values if f":{name}" in statement}
                connection.execute(text(statement), needed)
            connection.commit()
        say("Vacuuming, as autovacuum would …")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        try:
            yield engine
        finally:
            engine.dispose()


def _row(
    question: _Question,
    service: RecallService,
    num_predictions: int,
    repetitions: int,
    say: Callable[[str], None],
) -> BenchmarkRow:
    milliseconds = []
    num_found = 0
    for number in range(repetitions):
        say(f"Recalling {question.words}, {number + 1} of {repetitions} …")
        began = time.perf_counter()
        target = question.find(service)
        num_found = service.findings(target).num_predictions
        service.signed(target, _SHOWN)
        milliseconds.append(1000 * (time.perf_counter() - began))
    value, interval = middle(milliseconds)
    return measured(
        clock=SystemClock(),
        id=f"recall.{question.name}_ms",
        value=value,
        unit="ms",
        better=Better.LOWER,
        goal=GOAL_MS,
        interval=interval,
        n=repetitions,
        command=COMMAND,
        note=(
            f"Among {num_predictions:,} predictions, as many reviews and 1.2 times as many events: "
            f"{question.words}; {num_found:,} found. Counts, reviews by state, who signed, who read, "
            f"and the newest {_SHOWN} signatures; median, and the range seen. Embedded PostgreSQL "
            "with its usual settings, vacuumed before."
        ),
    )
