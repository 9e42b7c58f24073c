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
from clinical.services.ports.subscriptions import (
    EhrSource,
    Fetched,
    HubSecrets,
    Made,
    NoLongerHeldError,
    Receive,
    Subscriptions,
    SubscriptionServer,
    Unread,
    UnsupportedByEhrError,
)
from clinical.services.ports.unit_of_work import OpenUnitOfWork, UnitOfWork
from clinical.services.ports.work import DeadLetters, Forgotten, Inbox, Outbox

__all__ = [
    "AuditLog",
    "Clock",
    "DeadLetters",
    "EhrGateway",
    "EhrSource",
    "EhrUnavailableError",
    "Erased",
    "Erasure",
    "Fetched",
    "Forgotten",
    "HubSecrets",
    "Identities",
    "Inbox",
    "LatentStates",
    "Made",
    "Memories",
    "ModelBusyError",
    "ModelServer",
    "ModelUnavailableError",
    "Models",
    "NoLongerHeldError",
    "OpenUnitOfWork",
    "Outbox",
    "Payloads",
    "PlanComparisons",
    "PlanModel",
    "Predictions",
    "Reader",
    "Recalls",
    "Receive",
    "Reviews",
    "SubscriptionServer",
    "Subscriptions",
    "Timelines",
    "UnitOfWork",
    "Unread",
    "UnsupportedByEhrError",
    "WorklistQuery",
    "append_all",
]
