"""What the domain needs from outside, as protocols; adapters implement them, assembly joins them."""

from clinical.services.ports.announcements import (
    Announcements,
    DeadAnnouncement,
    ReceiverFailedError,
    ReceiverGoneError,
    ReceiverName,
    Receivers,
    ReceiverState,
    UnknownReceiverError,
)
from clinical.services.ports.answers import (
    LatentStates,
    Memories,
    Models,
    PlanComparisons,
    Predictions,
    Timelines,
)
from clinical.services.ports.judgements import Recalls, Reviews, WorklistQuery
from clinical.services.ports.log import AuditLog, Erased, Erasure, Payloads, append_all
from clinical.services.ports.notes import CodedNote, NoteCoder, NoteJob, NoteJobs
from clinical.services.ports.outside import (
    Clock,
    EhrGateway,
    EhrUnavailableError,
    Identities,
    ModelBusyError,
    ModelServer,
    ModelUnavailableError,
    PlanModel,
    Reader,
)
from clinical.services.ports.unit_of_work import OpenUnitOfWork, UnitOfWork
from clinical.services.ports.work import DeadLetters, Forgotten, Inbox, Outbox

__all__ = [
    "Announcements",
    "AuditLog",
    "Clock",
    "CodedNote",
    "DeadAnnouncement",
    "DeadLetters",
    "EhrGateway",
    "EhrUnavailableError",
    "Erased",
    "Erasure",
    "Forgotten",
    "Identities",
    "Inbox",
    "LatentStates",
    "Memories",
    "ModelBusyError",
    "ModelServer",
    "ModelUnavailableError",
    "Models",
    "NoteCoder",
    "NoteJob",
    "NoteJobs",
    "OpenUnitOfWork",
    "Outbox",
    "Payloads",
    "PlanComparisons",
    "PlanModel",
    "Predictions",
    "Reader",
    "Recalls",
    "ReceiverFailedError",
    "ReceiverGoneError",
    "ReceiverName",
    "ReceiverState",
    "Receivers",
    "Reviews",
    "Timelines",
    "UnitOfWork",
    "UnknownReceiverError",
    "WorklistQuery",
    "append_all",
]
