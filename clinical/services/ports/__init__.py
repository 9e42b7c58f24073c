"""What the domain needs from outside, as protocols; adapters implement them, assembly joins them."""

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
from clinical.services.ports.pulls import (
    BulkFile,
    BulkJob,
    FileKind,
    JobState,
    PollTurn,
    Pulls,
)
from clinical.services.ports.unit_of_work import OpenUnitOfWork, UnitOfWork
from clinical.services.ports.work import DeadLetters, Forgotten, Inbox, Outbox

__all__ = [
    "AuditLog",
    "BulkFile",
    "BulkJob",
    "Clock",
    "DeadLetters",
    "EhrGateway",
    "EhrUnavailableError",
    "Erased",
    "Erasure",
    "FileKind",
    "Forgotten",
    "Identities",
    "Inbox",
    "JobState",
    "LatentStates",
    "Memories",
    "ModelBusyError",
    "ModelServer",
    "ModelUnavailableError",
    "Models",
    "OpenUnitOfWork",
    "Outbox",
    "Payloads",
    "PlanComparisons",
    "PlanModel",
    "PollTurn",
    "Predictions",
    "Pulls",
    "Reader",
    "Recalls",
    "Reviews",
    "Timelines",
    "UnitOfWork",
    "WorklistQuery",
    "append_all",
]
