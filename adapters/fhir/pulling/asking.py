"""The two questions that are answered in pages: everything of a patient, and what changed since.

Knows their parameters, and how a page becomes a delivery. Does not know when to ask.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from adapters.egress.peer import Peer
from adapters.fhir.pulling.errors import BadPatientIdError
from adapters.fhir.pulling.pages import Page, pages
from adapters.fhir.references import is_valid_id
from clinical.services.delivery import Delivery, Door
from clinical.services.ports import Clock, Identities

JSON = "application/fhir+json"
PATIENT = "compartment"
"""In a delivery's context: whose records it was asked for; those of others are set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Questions to one site's EHR, and their answers as deliveries."""

    site: str
    peer: Peer
    clock: Clock
    identities: Identities

    def everything(self, record_id: str) -> Iterator[Delivery]:
        """Each page of `Patient/{id}/$everything`; raises BadPatientIdError, and as `pages` does."""
        if not is_valid_id(record_id):
            raise BadPatientIdError("a patient's id is 1 to 64 letters, digits, hyphens or dots")
        for page in pages(self.peer, f"Patient/{record_id}/$everything", {}):
            yield self.delivery(page, f"everything/{record_id}", {PATIENT: record_id})

    def changed(self, record_type: str, since: str, count: int) -> Iterator[Page]:
        """Each page of the resources of a type by when they changed, oldest first.

        `since` is an instant behind `ge` (at or after) or `gt` (after); empty: all. Raises as `pages` does.
        """
        params = {"_sort": "_lastUpdated", "_count": str(count)}
        if since:
            params["_lastUpdated"] = since
        return pages(self.peer, record_type, params)

    def delivery(
        self, page: Page, question: str, context: dict[str, str] | None = None
    ) -> Delivery:
        """The page as a delivery; the same resources in answer to the same question are the same."""
        name = hashlib.sha256(f"{question}|{page.digest}".encode()).hexdigest()
        return Delivery(
            delivery_id=self.identities.new(),
            site=self.site,
            door=Door.FHIR_FETCHED,
            sender_id=f"page:{name}",
            body=page.body,
            content_type=JSON,
            received_at=self.clock.now(),
            context=context or {},
        )
