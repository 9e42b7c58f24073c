"""The EHR as something that can be told: once, in what it takes, and never without knowing the outcome.

What may have been stored already is looked for by our own identifier first, and every create is
conditional on it. Where the server can be asked neither way, an unknown outcome is left to people.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from adapters.egress.errors import PeerRefusedError, PeerUnavailableError
from adapters.egress.peer import Peer
from adapters.fhir.capability import Capability, capability_of
from adapters.fhir.outbound import entries_of
from adapters.fhir.taking_back import take_back
from adapters.fhir.telling import JSON, find, tell
from adapters.sites.write_back import WriteBackChoices
from clinical.errors import RejectedError
from clinical.review.writeback import Told, WriteBack
from clinical.services.ports import EhrUnavailableError

_FRESH_SECONDS = 3600.0


class UnknownEhrError(RejectedError):
    """The site has no FHIR server, or has not turned write-back on."""

    code = "ehr.unknown_site"


class EhrRefusedError(RejectedError):
    """The EHR answered that it will not store this; asking again will not change that."""

    code = "ehr.refused"


class Ehr:
    """One EHR with what is told to it; what it can do is asked once an hour."""

    def __init__(
        self,
        peer: Peer,
        choices: WriteBackChoices,
        *,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked yet; `elapsed` counts seconds."""
        self.peer = peer
        self.choices = choices
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._capability: Capability | None = None
        self._known_at = 0.0

    def capability(self) -> Capability:
        """What it says that it can do; nothing is known where it does not say.

        Raises:
            PeerUnavailableError
        """
        with self._lock:
            now = self._elapsed()
            if self._capability is None or now - self._known_at > _FRESH_SECONDS:
                self._capability, self._known_at = self._asked(), now
            return self._capability

    def _asked(self) -> Capability:
        try:
            answer = self.peer.ask("GET", "metadata", headers={"Accept": JSON})
        except PeerRefusedError:
            return Capability()
        return capability_of(answer.document())


class FhirGateway:
    """Implements the EhrGateway port over HTTP."""

    def __init__(self, ehrs: Mapping[str, Ehr]) -> None:
        """By site; those whose write-back is off are refused."""
        self._ehrs = ehrs

    def write_back(self, write_back: WriteBack) -> Told:
        """Tell the EHR once, however often called.

        Raises:
            UnknownEhrError, EhrRefusedError, CannotStoreError, OutcomeUnknownError
            NothingToWriteBackError, ForeignAddressError, OversizedAnswerError
            EhrUnavailableError
        """
        ehr = self._ehr(write_back.site)
        with _translated():
            return _tell(ehr, write_back)

    def take_back(self, write_back: WriteBack, ehr_id: str) -> Told:
        """Mark what the EHR was told as entered in error, where the site wants that; what was marked.

        Raises:
            UnknownEhrError, EhrRefusedError, ForeignAddressError, OversizedAnswerError
            EhrUnavailableError
        """
        ehr = self._ehr(write_back.site)
        if not ehr.choices.takes_back:
            return Told(ehr_id=ehr_id)
        with _translated():
            return _take_back(ehr, write_back, ehr_id)

    def _ehr(self, site: str) -> Ehr:
        ehr = self._ehrs.get(site)
        if ehr is None or not ehr.choices.is_on:
            raise UnknownEhrError("the site has no FHIR server, or write-back is off")
        return ehr


@contextmanager
def _translated() -> Iterator[None]:
    """What a peer raises, as the port has it."""
    try:
        yield
    except PeerRefusedError as error:
        raise EhrRefusedError(f"the EHR answered {error.status}") from error
    except PeerUnavailableError as error:
        raise EhrUnavailableError(str(error), retry_after=error.retry_after) from error


def _take_back(ehr: Ehr, write_back: WriteBack, ehr_id: str) -> Told:
    """Everything that was told but the model and the Provenance, which stay true."""
    capability = ehr.capability()
    takes = capability.can_create if ehr.choices.trusts_statement else _anything
    entries = [
        each
        for each in entries_of(write_back, ehr.choices, takes)
        if each.resource["resourceType"] in ehr.choices.resources
    ]
    done = []
    for entry in entries:
        kind = str(entry.resource["resourceType"])
        place = ehr_id if ehr_id.startswith(f"{kind}/") else find(ehr.peer, entry)
        if place is not None and take_back(ehr.peer, place, entry.full_url):
            done.append(kind)
    return Told(ehr_id=ehr_id, resource_types=tuple(done))


def _tell(ehr: Ehr, write_back: WriteBack) -> Told:
    capability = ehr.capability()
    takes = capability.can_create if ehr.choices.trusts_statement else _anything
    entries = entries_of(write_back, ehr.choices, takes)
    is_whole = ehr.choices.style == "transaction" or (
        ehr.choices.style == "auto" and capability.has_transaction is not False
    )
    wanted = {*ehr.choices.resources, *(["Provenance"] if ehr.choices.has_provenance else [])}
    return Told(
        ehr_id=tell(ehr.peer, entries, capability, is_whole=is_whole),
        resource_types=tuple(str(each.resource["resourceType"]) for each in entries),
        left_out=tuple(sorted(kind for kind in wanted if not takes(kind))),
    )


def _anything(_resource_type: str) -> bool:
    return True
