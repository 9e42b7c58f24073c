"""How each kind of audit entry reads as an IHE BALP AuditEvent: a table, and the codes that it uses.

BALP 1.1 (https://profiles.ihe.net/ITI/BALP) has profiles for what is created, read, updated, deleted
and queried, each with and without a patient. Signing in, exporting the log and work of our own are
none of these: they are plain AuditEvents of FHIR R4 with the DICOM codes for them. What was refused
follows "access denied" of the FHIR core, and claims no profile: BALP's are of successes.
"""

from dataclasses import dataclass
from enum import StrEnum

from clinical.audit.entry import AuditKind

DICOM = "http://dicom.nema.org/resources/ontology/DCM"
EVENT_TYPE = "http://terminology.hl7.org/CodeSystem/audit-event-type"
INTERACTION = "http://hl7.org/fhir/restful-interaction"
ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
ENTITY_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
CUSTODIAN = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
SOURCE_TYPE = "http://terminology.hl7.org/CodeSystem/security-source-type"
PURPOSE = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
BALP = "https://profiles.ihe.net/ITI/BALP"


class Does(StrEnum):
    """What was done, as BALP tells acts apart; the last four have no profile."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"
    QUERY = "search-type"
    OPERATION = "operation"
    TRANSACTION = "transaction"
    SIGN_IN = "sign-in"
    EXPORT = "export"


ACTION = {
    Does.CREATE: "C",
    Does.READ: "R",
    Does.UPDATE: "U",
    Does.DELETE: "D",
    Does.QUERY: "E",
    Does.OPERATION: "E",
    Does.TRANSACTION: "E",
    Does.SIGN_IN: "E",
    Does.EXPORT: "R",
}
PROFILE = {
    Does.CREATE: "Create",
    Does.READ: "Read",
    Does.UPDATE: "Update",
    Does.DELETE: "Delete",
    Does.QUERY: "Query",
}


class Server(StrEnum):
    """Who was asked: this service, or the EHR of a site, of which this service was the client."""

    OURS = "ours"
    EHR = "ehr"


class Why(StrEnum):
    """Purpose of use, of v3-ActReason."""

    TREATMENT = "TREAT"
    OPERATIONS = "HOPERAT"
    COMPLIANCE = "HCOMPL"
    SAFETY = "PATSFTY"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a kind reads. `subject` is the ref that names what it was done to, in words `noun`."""

    does: Does
    subject: str
    noun: str
    why: Why = Why.TREATMENT
    server: Server = Server.OURS
    outcome: str = "0"


SHAPES = {
    AuditKind.DELIVERY_RECEIVED: Shape(Does.CREATE, "delivery", "Delivery"),
    AuditKind.DELIVERY_REFUSED: Shape(Does.CREATE, "delivery", "Delivery", outcome="4"),
    AuditKind.EVENTS_RECORDED: Shape(Does.UPDATE, "delivery", "Delivery"),
    AuditKind.PREDICTION_STORED: Shape(Does.CREATE, "prediction", "Prediction"),
    AuditKind.REVIEW_OPENED: Shape(Does.CREATE, "review", "Review"),
    AuditKind.REVIEW_CLAIMED: Shape(Does.UPDATE, "review", "Review"),
    AuditKind.REVIEW_RELEASED: Shape(Does.UPDATE, "review", "Review"),
    AuditKind.REVIEW_SIGNED: Shape(Does.UPDATE, "review", "Review"),
    AuditKind.REVIEW_SUPERSEDED: Shape(Does.UPDATE, "review", "Review"),
    AuditKind.REVIEW_READ: Shape(Does.READ, "review", "Review"),
    AuditKind.WRITEBACK_QUEUED: Shape(Does.UPDATE, "review", "Review"),
    AuditKind.WRITEBACK_DONE: Shape(Does.CREATE, "review", "Review", server=Server.EHR),
    AuditKind.WRITEBACK_TAKEN_BACK: Shape(
        Does.UPDATE, "review", "Review", Why.SAFETY, server=Server.EHR
    ),
    AuditKind.MODEL_REGISTERED: Shape(Does.CREATE, "model", "Model", Why.OPERATIONS),
    AuditKind.MODEL_INSTALLED: Shape(Does.UPDATE, "model", "Model", Why.OPERATIONS),
    AuditKind.MODEL_PROPOSED: Shape(Does.UPDATE, "model", "Model", Why.OPERATIONS),
    AuditKind.MODEL_PROMOTED: Shape(Does.UPDATE, "model", "Model", Why.OPERATIONS),
    AuditKind.MODEL_STOPPED: Shape(Does.UPDATE, "model", "Model", Why.SAFETY),
    AuditKind.MODEL_RECALLED: Shape(Does.UPDATE, "model", "Model", Why.SAFETY),
    AuditKind.INPUT_RECALLED: Shape(Does.CREATE, "recall", "Recall", Why.SAFETY),
    AuditKind.REVIEW_WITHDRAWN: Shape(Does.UPDATE, "review", "Review", Why.SAFETY),
    AuditKind.REVIEW_RELOOK: Shape(Does.UPDATE, "review", "Review", Why.SAFETY),
    AuditKind.REVIEW_LOOKED_AGAIN: Shape(Does.UPDATE, "review", "Review"),
    AuditKind.PLANS_COMPARED: Shape(Does.CREATE, "comparison", "Plan comparison"),
    AuditKind.AUDIT_RUN: Shape(Does.OPERATION, "", "Audit log", Why.COMPLIANCE),
    AuditKind.MESSAGE_ABANDONED: Shape(
        Does.UPDATE, "message", "Message", Why.OPERATIONS, outcome="8"
    ),
    AuditKind.MESSAGE_REDRIVEN: Shape(Does.UPDATE, "message", "Message", Why.OPERATIONS),
    AuditKind.MESSAGE_REOWED: Shape(Does.UPDATE, "message", "Message", Why.OPERATIONS),
    AuditKind.PATIENT_ERASED: Shape(Does.DELETE, "", "Patient", Why.COMPLIANCE),
    AuditKind.WORKLIST_READ: Shape(Does.QUERY, "", "Worklist"),
    AuditKind.RESOURCE_READ: Shape(Does.READ, "", "Resource"),
    AuditKind.RESOURCES_SEARCHED: Shape(Does.QUERY, "", "Resources"),
    AuditKind.LEDGER_EXPORTED: Shape(Does.EXPORT, "", "Audit log", Why.COMPLIANCE),
    AuditKind.REQUEST_REFUSED: Shape(Does.OPERATION, "", "Request", Why.OPERATIONS),
    AuditKind.SESSION_OPENED: Shape(Does.SIGN_IN, "", "Session"),
    AuditKind.TOKEN_ISSUED: Shape(Does.CREATE, "token", "Access token", Why.OPERATIONS),
    AuditKind.TOKEN_REVOKED: Shape(Does.DELETE, "token", "Access token", Why.OPERATIONS),
    AuditKind.PREDICTION_STALE: Shape(Does.UPDATE, "prediction", "Prediction", Why.SAFETY),
    AuditKind.TIMELINES_EXPORTED: Shape(Does.EXPORT, "", "Timelines", Why.OPERATIONS),
    AuditKind.NOTE_SENT: Shape(Does.EXPORT, "delivery", "Note"),
    AuditKind.WEBHOOK_DISABLED: Shape(Does.UPDATE, "", "Receiver", Why.OPERATIONS),
    AuditKind.WEBHOOK_ENABLED: Shape(Does.UPDATE, "", "Receiver", Why.OPERATIONS),
    AuditKind.CARDS_ASKED: Shape(Does.QUERY, "", "Card"),
    AuditKind.CARD_FEEDBACK: Shape(Does.CREATE, "feedback", "Feedback on a card"),
    AuditKind.EHR_PULLED: Shape(Does.QUERY, "", "EHR records", server=Server.EHR),
    AuditKind.SUBSCRIPTION_MOVED: Shape(
        Does.UPDATE, "subscription", "Subscription", Why.OPERATIONS
    ),
    AuditKind.GAP_FOUND: Shape(Does.UPDATE, "subscription", "Subscription", Why.OPERATIONS),
    AuditKind.GAP_CLOSED: Shape(Does.UPDATE, "subscription", "Subscription", Why.OPERATIONS),
    AuditKind.GAP_GIVEN_UP: Shape(
        Does.UPDATE, "subscription", "Subscription", Why.OPERATIONS, outcome="8"
    ),
    AuditKind.EHR_READ: Shape(Does.READ, "", "EHR record", server=Server.EHR),
    AuditKind.EHR_WRITTEN: Shape(Does.CREATE, "", "EHR record", server=Server.EHR),
}
"""Every kind: a test checks that none is missing."""
