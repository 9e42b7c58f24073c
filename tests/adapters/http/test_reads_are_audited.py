"""Whoever sees something of a patient is in the audit log with what they saw."""

import pytest

from adapters.http.looks import RecentLooks
from clinical.audit.entry import AuditEntry, AuditKind
from tests.adapters.http.conftest import Stage


def entries(stage: Stage, kind: AuditKind) -> list[AuditEntry]:
    with stage.deps.open_unit_of_work() as uow:
        uow.audit_log.sequence(10_000, stage.clock.now())
        found = [entry for _, entry, _ in uow.audit_log.sequenced()]
    return [entry for entry in found if entry.kind is kind]


@pytest.mark.integration
def test_a_look_at_the_worklist_names_the_reviews_that_were_shown(stage: Stage) -> None:
    shown = {str(stage.add_patient(name)) for name in ("p1", "p2")}
    stage.sign_in("anna")
    stage.get("/v1/reviews?mine=false&limit=10")
    (entry,) = entries(stage, AuditKind.WORKLIST_READ)
    assert set(entry.refs["reviews"].split()) == shown
    assert entry.refs["query"] == "state=claimed%2Cqueued&limit=10"
    assert (entry.actor, entry.refs["from"]) == ("anna", "127.0.0.1")


@pytest.mark.integration
def test_a_page_that_asks_again_and_again_is_one_look_until_something_else_is_shown(
    stage: Stage,
) -> None:
    stage.add_patient("p1")
    stage.sign_in("anna")
    for _ in range(3):
        stage.get("/v1/reviews")
    stage.add_patient("p2")
    stage.get("/v1/reviews")
    stage.sign_in("ben")
    stage.get("/v1/reviews")
    assert [each.actor for each in entries(stage, AuditKind.WORKLIST_READ)] == [
        "anna",
        "anna",
        "ben",
    ]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("", ""),
        ("/timeline", "timeline"),
        ("/history", "history"),
        ("/similar", "similar"),
        ("/plan-comparisons", "plans"),
    ],
)
def test_every_way_to_look_at_a_review_is_told_with_the_part(
    stage: Stage, path: str, part: str
) -> None:
    review_id = stage.add_patient("p1")
    stage.sign_in("anna")
    assert stage.get(f"/v1/reviews/{review_id}{path}").status_code == 200
    (entry,) = entries(stage, AuditKind.REVIEW_READ)
    assert (entry.refs["review"], entry.refs.get("part", "")) == (str(review_id), part)


def test_a_look_is_new_again_after_five_minutes() -> None:
    moments = iter([0.0, 299.0, 301.0])
    looks = RecentLooks(lambda: next(moments))
    assert [looks.is_new("anna sees p1") for _ in range(3)] == [True, False, True]
