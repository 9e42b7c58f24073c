"""A governed row is written with an audit entry that names it, in one transaction, or not at all."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, make_url, text

from adapters.db.errors import BrokenStorageError
from clinical.audit.entry import AuditEntry, AuditKind
from clinical.services.delivery import Delivery, Door
from clinical.services.ports import OpenUnitOfWork
from tests.fakes import NOON

pytestmark = pytest.mark.integration

# Each writes, changes or deletes one row of a governed table; `%(id)s` is its key.
_DELIVERY = """INSERT INTO deliveries (delivery_id, site, door, sender_id, body, digest, content_type,
    context, received_at) VALUES (%(id)s, 's', 'fhir', %(id)s, '', '', '', '{}', now())"""
_MODEL = "INSERT INTO model_versions VALUES (%(id)s, 'n', 'v', 'd', now())"
_PREDICTION = """INSERT INTO predictions (prediction_id, patient_id, as_of, received_by, made_at, purpose,
    request, input_digest, config_digest, manifest_digest, capsule, readouts, unseen_code_share,
    output_digest) VALUES (%(id)s, %(id)s, now(), now(), now(), 'review', '{}', '', '', 'm', '{}', '[]',
    0, '')"""
_REVIEW = """INSERT INTO reviews (review_id, prediction_id, patient_id, priority, opened_at, state,
    version, fence, closed_reason) SELECT %(id)s, prediction_id, patient_id, 0, now(), 'queued', 1, 0, ''
    FROM predictions LIMIT 1"""
_DECISION = """INSERT INTO decisions SELECT %(id)s, review_id, 'agree', '{}', '', 'a', now(), ''
    FROM reviews LIMIT 1"""
_COMPARISON = """INSERT INTO plan_comparisons (comparison_id, review_id, asked_by, made_at, question,
    input_digest, config_digest, manifest_digest, capsule, options, excluded, num_considered,
    output_digest) SELECT %(id)s, review_id, 'a', now(), '{}', '', '', 'm', '{}', '[]', '[]', 0, ''
    FROM reviews LIMIT 1"""
_WRITE_BACK = "INSERT INTO write_backs SELECT review_id, %(id)s, now() FROM reviews LIMIT 1"
_FEEDBACK = """WITH card AS (INSERT INTO shown_cards SELECT %(id)s, prediction_id, 's', 'h', NULL
    FROM predictions LIMIT 1 RETURNING card_id, prediction_id)
    INSERT INTO card_feedback SELECT %(id)s, card_id, prediction_id, 'accepted', now(), now(), 'c',
    '', '', '', '' FROM card"""
_INSERTS = {
    "delivery": _DELIVERY,
    "model": _MODEL,
    "prediction": _PREDICTION,
    "review": _REVIEW,
    "decision": _DECISION,
    "comparison": _COMPARISON,
    "written back": _WRITE_BACK,
    "feedback": _FEEDBACK,
}
_TABLES = {
    "delivery": "deliveries",
    "model": "model_versions",
    "prediction": "predictions",
    "decision": "decisions",
    "comparison": "plan_comparisons",
    "feedback": "card_feedback",
}
_CHANGES = {
    "a delivery changed": "UPDATE deliveries SET body = %(id)s WHERE site = 'base'",
    "a review changed": "UPDATE reviews SET state = 'signed'",
    "a model changed": "UPDATE model_versions SET name = %(id)s",
    "a delivery deleted": "DELETE FROM deliveries WHERE site = 'base'",
    "a review deleted": "DELETE FROM reviews",
    "a prediction changed": "UPDATE predictions SET output_digest = %(id)s",
    "a prediction deleted": "DELETE FROM predictions",
}
_ENTRY = "INSERT INTO audit_entries VALUES (%(entry)s, now(), 'k', 'a', %(refs)s, '')"
_ROLE, _PASSWORD = "clinical_app_test", "secret"


@pytest.fixture
def as_app(engine: Engine, database_url: str) -> Iterator[psycopg.Connection]:
    """A connection of a role that owns nothing: it may read and write rows, and no more."""
    with engine.begin() as connection:
        connection.execute(
            text(
                f"DO $$ BEGIN CREATE ROLE {_ROLE} LOGIN PASSWORD '{_PASSWORD}';"
                " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            )
        )
        connection.execute(
            text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {_ROLE}")
        )
        connection.execute(text(f"REVOKE INSERT, UPDATE ON audit_pending FROM {_ROLE}"))
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers
        driver = psycopg.ClientCursor(connection.connection.driver_connection)
        for name, key in (("model", "m"), ("prediction", str(uuid4())), ("review", str(uuid4()))):
            driver.execute(_INSERTS[name], {"id": key})
        driver.execute(_DELIVERY.replace("'s', 'fhir'", "'base', 'fhir'"), {"id": str(uuid4())})
    url = make_url(database_url).set(drivername="postgresql", username=_ROLE, password=_PASSWORD)
    with psycopg.connect(
        url.render_as_string(hide_password=False), cursor_factory=psycopg.ClientCursor
    ) as connection_of_app:
        yield connection_of_app
    with engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {_ROLE}"))


@contextmanager
def _refused(connection: psycopg.Connection) -> Iterator[None]:
    with pytest.raises(psycopg.errors.RestrictViolation):  # noqa: PT012 - at the latest the commit is refused
        yield
        connection.commit()
    connection.rollback()


def _names(entry: dict[str, str]) -> dict[str, object]:
    return {"entry": uuid4(), "refs": psycopg.types.json.Jsonb(entry)}


def test_of_two_thousand_attempts_without_an_entry_none_is_kept(
    as_app: psycopg.Connection,
) -> None:
    chances, attempts = random.Random(6), [*_INSERTS.values(), *_CHANGES.values()]
    counted = sql.SQL(
        "SELECT (SELECT count(*) FROM deliveries), (SELECT count(*) FROM reviews),"
        " (SELECT count(*) FROM predictions), (SELECT count(*) FROM decisions),"
        " (SELECT string_agg(state, ',') FROM reviews), (SELECT string_agg(name, ',') FROM model_versions)"
    )
    before = as_app.execute(counted).fetchone()
    as_app.commit()
    for number in range(2000):
        with _refused(as_app):
            if number % 2:  # an entry there is, but it names another row
                as_app.execute(_ENTRY, _names({"review": str(uuid4()), "delivery": str(uuid4())}))
            as_app.execute(chances.choice(attempts), {"id": str(uuid4())})
    assert as_app.execute(counted).fetchone() == before


@pytest.mark.parametrize(
    "ref", ["delivery", "prediction", "comparison", "decision", "model", "feedback"]
)
def test_an_entry_that_names_the_row_lets_it_through_but_only_in_its_own_transaction(
    as_app: psycopg.Connection, ref: str
) -> None:
    key = str(uuid4())
    as_app.execute(_ENTRY, _names({ref: key}))
    as_app.commit()
    with _refused(as_app):
        as_app.execute(_INSERTS[ref], {"id": key})
    as_app.execute(_INSERTS[ref], {"id": key})
    as_app.execute(_ENTRY, _names({ref: key}))
    as_app.commit()
    entries = "SELECT count(*) FROM audit_entries WHERE refs ->> %s = %s"
    assert as_app.execute(entries, [ref, key]).fetchone() == (2,)
    assert _count(as_app, _TABLES[ref], key) == 1


def _count(connection: psycopg.Connection, table: str, key: str = "") -> int:
    """How many rows there are, or with this text in them."""
    found = f"SELECT count(*) FROM {table} AS row WHERE position(%s IN row::text) > 0"
    row = connection.execute(found, [key]).fetchone()
    assert row is not None
    return int(row[0])


def test_nobody_but_the_trigger_says_which_entries_are_of_a_transaction(
    as_app: psycopg.Connection,
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_app.execute("INSERT INTO audit_pending (entry_id) VALUES (%s)", [uuid4()])
    as_app.rollback()


def test_a_repository_that_forgets_the_entry_hears_which_rule_it_broke(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    delivery = Delivery(
        delivery_id=uuid4(),
        site="north",
        door=Door.FHIR,
        sender_id="1",
        body=b"{}",
        content_type="application/json",
        received_at=NOON,
    )
    with open_unit_of_work() as uow:
        uow.inbox.add(delivery)
        with pytest.raises(BrokenStorageError, match="deliveries_are_audited"):
            uow.commit()
    with open_unit_of_work() as uow:
        _, held = uow.inbox.add(delivery)
        uow.audit_log.append(
            AuditEntry(
                entry_id=uuid4(),
                at=NOON,
                kind=AuditKind.DELIVERY_RECEIVED,
                actor="a",
                refs={"delivery": str(held)},
            )
        )
        uow.commit()


def test_only_an_erasure_may_delete(as_app: psycopg.Connection) -> None:
    erasure = "INSERT INTO audit_entries VALUES (%(entry)s, now(), 'patient.erased.v1', 'a', %(refs)s, '')"
    with _refused(as_app):
        as_app.execute("DELETE FROM reviews")
    assert _count(as_app, "reviews") == _count(as_app, "predictions") == 1
    as_app.execute(erasure, _names({"num_sealed": "0"}))
    as_app.execute("DELETE FROM reviews")
    as_app.execute("DELETE FROM predictions")
    as_app.commit()
    assert _count(as_app, "reviews") == _count(as_app, "predictions") == 0
    with _refused(as_app):  # that was then
        as_app.execute("DELETE FROM deliveries")
    assert _count(as_app, "deliveries") == 1
