"""What passed between us and an EHR, to be written down: one call for whoever talks to one."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from clinical.audit.entry import Act, AuditKind


class Interaction(StrEnum):
    """What was asked of a FHIR server, in the words of its `restful-interaction` codes."""

    READ = "read"
    SEARCH = "search-type"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    TRANSACTION = "transaction"
    OPERATION = "operation"


_WRITES = frozenset(
    {Interaction.CREATE, Interaction.UPDATE, Interaction.DELETE, Interaction.TRANSACTION}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EhrExchange:
    """One exchange that we began with a site's EHR, whether or not it went well.

    `resource` is a FHIR type, or empty for the whole server; `why` the code of the error that it
    ended with, empty where it went well; `review` and `delivery` what it was about, where there is
    one. The EHR's own ids stay out: they say whose record it is.
    """

    site: str
    interaction: Interaction
    resource: str = ""
    why: str = ""
    review: UUID | None = None
    delivery: UUID | None = None

    @property
    def kind(self) -> AuditKind:
        """Whether it read or wrote."""
        return AuditKind.EHR_WRITTEN if self.interaction in _WRITES else AuditKind.EHR_READ

    @property
    def refs(self) -> dict[str, object]:
        """What the audit entry says of it."""
        said = {
            "site": self.site,
            "interaction": self.interaction.value,
            "resource": self.resource,
            "why": self.why,
            "review": self.review,
            "delivery": self.delivery,
        }
        return {name: value for name, value in said.items() if value}


class NotesExchanges(Protocol):
    """Writes exchanges into the audit log; `AccessService` does."""

    def note_exchange(self, exchange: EhrExchange, act: Act) -> None:
        """In a transaction of its own. Of what is tried again and again, note the first and the last."""
        ...
