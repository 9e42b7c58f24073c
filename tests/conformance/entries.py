"""An audit entry of every kind, with the refs that the services give it, for tables of tests."""

from datetime import UTC, datetime
from uuid import UUID

from clinical.audit.entry import AuditEntry, AuditKind

AT = datetime(2026, 3, 1, 8, 0, 0, 250_000, tzinfo=UTC)
DIGEST = "ab" * 32
R, P, D, C, M, E = (str(UUID(int=100 + i)) for i in range(6))

REFS: dict[AuditKind, dict[str, str]] = {
    AuditKind.DELIVERY_RECEIVED: {"delivery": D, "door": "fhir", "site": "north"},
    AuditKind.DELIVERY_REFUSED: {"delivery": D, "why": "intake.conflicting_delivery"},
    AuditKind.EVENTS_RECORDED: {"delivery": D, "events": "3", "new_events": "3"},
    AuditKind.PREDICTION_STORED: {"prediction": P, "model": DIGEST, "config": "c"},
    AuditKind.REVIEW_OPENED: {"review": R, "prediction": P},
    AuditKind.REVIEW_CLAIMED: {"review": R, "version": "2"},
    AuditKind.REVIEW_RELEASED: {"review": R, "version": "3"},
    AuditKind.REVIEW_SIGNED: {"review": R, "version": "3", "decision": C, "verdict": "agree"},
    AuditKind.REVIEW_SUPERSEDED: {"review": R, "by": C},
    AuditKind.REVIEW_READ: {"review": R, "part": "timeline"},
    AuditKind.WRITEBACK_QUEUED: {"review": R},
    AuditKind.WRITEBACK_DONE: {"review": R, "ehr_id": "sealed:00"},
    AuditKind.WRITEBACK_TAKEN_BACK: {"review": R, "told": "RiskAssessment,Flag"},
    AuditKind.PREDICTION_STALE: {"prediction": P, "delivery": D, "why": "corrected"},
    AuditKind.TIMELINES_EXPORTED: {"digest": "sealed:00", "site": "all", "outcome": "done"},
    AuditKind.NOTE_SENT: {"delivery": D, "site": "north"},
    AuditKind.WEBHOOK_DISABLED: {"site": "north", "endpoint": "dashboard"},
    AuditKind.WEBHOOK_ENABLED: {"site": "north", "endpoint": "dashboard"},
    AuditKind.CARDS_ASKED: {"site": "north", "hook": "patient-view", "prediction": P, "card": C},
    AuditKind.CARD_FEEDBACK: {"feedback": C, "card": C, "prediction": P, "review": R},
    AuditKind.EHR_PULLED: {"how": "poll", "site": "north", "pages": "3"},
    AuditKind.SUBSCRIPTION_MOVED: {"subscription": C, "standing": "active"},
    AuditKind.GAP_FOUND: {"subscription": C, "first": "3", "last": "4"},
    AuditKind.GAP_CLOSED: {"subscription": C, "first": "3", "last": "4"},
    AuditKind.GAP_GIVEN_UP: {"subscription": C, "first": "3", "last": "4"},
    AuditKind.MODEL_REGISTERED: {"model": DIGEST},
    AuditKind.MODEL_INSTALLED: {"model": DIGEST},
    AuditKind.MODEL_PROPOSED: {"model": DIGEST},
    AuditKind.MODEL_PROMOTED: {"model": DIGEST},
    AuditKind.MODEL_STOPPED: {"model": DIGEST, "why": "safety"},
    AuditKind.MODEL_RECALLED: {"recall": C, "model": DIGEST, "why": "safety"},
    AuditKind.INPUT_RECALLED: {"recall": C, "why": "data"},
    AuditKind.REVIEW_WITHDRAWN: {"review": R, "recall": C},
    AuditKind.REVIEW_RELOOK: {"review": R, "recall": C},
    AuditKind.REVIEW_LOOKED_AGAIN: {"review": R},
    AuditKind.PLANS_COMPARED: {"comparison": C, "review": R, "model": DIGEST, "config": "c"},
    AuditKind.AUDIT_RUN: {"digest": DIGEST},
    AuditKind.MESSAGE_ABANDONED: {"message": M, "message_kind": "x", "why": "message.x"},
    AuditKind.MESSAGE_REDRIVEN: {"message": M},
    AuditKind.PATIENT_ERASED: {"num_events": "3", "num_sealed": "2"},
    AuditKind.MESSAGE_REOWED: {"message": M},
    AuditKind.WORKLIST_READ: {"query": "state=queued&limit=50", "reviews": f"{R} {C}"},
    AuditKind.RESOURCE_READ: {"resource": "RiskAssessment", "prediction": P, "from": "10.0.0.7"},
    AuditKind.RESOURCES_SEARCHED: {"resource": "RiskAssessment", "query": "", "found": P},
    AuditKind.LEDGER_EXPORTED: {"query": "since=&until="},
    AuditKind.REQUEST_REFUSED: {
        "method": "GET",
        "route": "/v1/reviews/{review_id}",
        "status": "401",
        "why": "http.signed_out",
        "count": "12",
        "since": AT.isoformat(),
        "from": "10.0.0.9",
    },
    AuditKind.SESSION_OPENED: {"from": "10.0.0.7"},
    AuditKind.TOKEN_ISSUED: {"token": C},
    AuditKind.TOKEN_REVOKED: {"token": C},
    AuditKind.EHR_READ: {"site": "north", "interaction": "search-type", "resource": "Observation"},
    AuditKind.EHR_WRITTEN: {"site": "north", "interaction": "transaction", "review": R},
}


def entry_of(kind: AuditKind, *, actor: str = "anna", **changes: str) -> AuditEntry:
    """An entry of the kind as `actor` wrote it."""
    return AuditEntry(
        entry_id=UUID(int=7),
        at=AT,
        kind=kind,
        actor=actor,
        refs=REFS[kind] | changes,
        request_id="req-1",
    )
