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
from clinical.services.ports.cards import Cards
from clinical.services.ports.data_sets import DataSet, Exported
from clinical.services.ports.disclosures import AuditedAct, AuditQuery, Disclosures, ToldQuery
from clinical.services.ports.exchanges import EhrExchange, Interaction, NotesExchanges
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
from clinical.services.ports.pulls import (
    BulkFile,
    BulkJob,
    FileKind,
    JobState,
    PollTurn,
    Pulls,
)
from clinical.services.ports.retractions import Retractions
from clinical.services.ports.unit_of_work import OpenUnitOfWork, UnitOfWork
from clinical.services.ports.work import DeadLetters, Forgotten, Inbox, Outbox

__all__ = [
    "Announcements",
    "AuditLog",
    "AuditQuery",
    "AuditedAct",
    "BulkFile",
    "BulkJob",
    "Cards",
    "Clock",
    "CodedNote",
    "DataSet",
    "DeadAnnouncement",
    "DeadLetters",
    "Disclosures",
    "EhrExchange",
    "EhrGateway",
    "EhrUnavailableError",
    "Erased",
    "Erasure",
    "Exported",
    "FileKind",
    "Forgotten",
    "Identities",
    "Inbox",
    "Interaction",
    "JobState",
    "LatentStates",
    "Memories",
    "ModelBusyError",
    "ModelServer",
    "ModelUnavailableError",
    "Models",
    "NoteCoder",
    "NoteJob",
    "NoteJobs",
    "NotesExchanges",
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
    "ReceiverFailedError",
    "ReceiverGoneError",
    "ReceiverName",
    "ReceiverState",
    "Receivers",
    "Retractions",
    "Reviews",
    "Timelines",
    "ToldQuery",
    "UnitOfWork",
    "UnknownReceiverError",
    "WorklistQuery",
    "append_all",
]
