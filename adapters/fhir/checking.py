"""What works with a FHIR server and what does not, in words, without changing anything there."""

from collections.abc import Iterator
from typing import NamedTuple

from adapters.egress.errors import PeerRefusedError, PeerUnavailableError
from adapters.egress.peer import Peer
from adapters.fhir.capability import Capability, capability_of
from adapters.fhir.telling import JSON
from adapters.sites.write_back import WriteBackChoices
from clinical.errors import ClinicalError

_OPERATIONS = {
    "everything": ("Patient/$everything", "clinical pull patient"),
    "export": ("Bulk Data $export", "clinical pull bulk"),
}


class Finding(NamedTuple):
    """One thing looked at: it works, it fails, or (None) cannot be told without changing something."""

    is_well: bool | None
    what: str
    detail: str


def check(peer: Peer, choices: WriteBackChoices) -> Iterator[Finding]:
    """Everything that can be looked at from outside, the first obstacle ending it."""
    try:
        answer = peer.ask("GET", "metadata", headers={"Accept": JSON})
        statement = answer.document()
    except ClinicalError as error:
        yield Finding(False, "metadata", in_words(error))
        return
    capability = capability_of(statement)
    yield _spoken(capability)
    yield _readable(peer)
    for name, (what, command) in _OPERATIONS.items():
        is_listed = name in capability.operations
        words = "listed" if is_listed else "not listed in its statement; it may answer all the same"
        yield Finding(True if is_listed else None, what, f"{words} (`{command}`)")
    if choices.is_on:
        yield from _writable(capability, choices)
    else:
        yield Finding(None, "write-back", "off: `write_back.is_on` is not true")


def _spoken(capability: Capability) -> Finding:
    if capability.interactions is None and not capability.fhir_version:
        return Finding(None, "metadata", "it answers, but with no CapabilityStatement of a server")
    said = f"FHIR {capability.fhir_version or '(no version stated)'}, {capability.software or 'unnamed'}"
    if capability.is_r4:
        return Finding(True, "metadata", said)
    return Finding(False, "metadata", f"{said}: this service speaks R4 (4.0.1) alone")


def _readable(peer: Peer) -> Finding:
    """Whether our token lets us read a patient: the whole way of authorisation in one question."""
    try:
        peer.ask("GET", "Patient", params={"_count": "1"}, headers={"Accept": JSON})
    except ClinicalError as error:
        return Finding(False, "reading patients", in_words(error))
    return Finding(True, "reading patients", "a search of Patient is answered")


def _writable(capability: Capability, choices: WriteBackChoices) -> Iterator[Finding]:
    kinds = [*choices.resources, "Device", *(["Provenance"] if choices.has_provenance else [])]
    for kind in kinds:
        what = f"write-back of {kind}"
        if capability.can_create(kind):
            is_safe = kind in capability.conditional_creates or capability.interactions is None
            how = "conditionally" if is_safe else "but does not offer conditional creates"
            yield Finding(True if is_safe else None, what, f"it takes new ones, {how}")
        elif choices.trusts_statement:
            yield Finding(False, what, "its statement does not list it: it will be left out")
        else:
            yield Finding(None, what, "its statement does not list it; it is sent all the same")
    if choices.style == "transaction" and capability.has_transaction is False:
        yield Finding(False, "transactions", 'it offers none: say style = "single" or "auto"')


def in_words(error: ClinicalError) -> str:
    """An error as somebody who sets up a site needs to hear it."""
    if isinstance(error, PeerRefusedError):
        advice = {
            401: "it does not accept who we are: check client id, registered key and token URL",
            403: "it knows us but does not allow this: check the granted scopes",
            404: "there is nothing at this address: check the base URL",
        }.get(error.status, "it refused")
        return f"{advice} (HTTP {error.status}, {error.code})"
    if isinstance(error, PeerUnavailableError):
        return f"{error} ({error.code})"
    return f"{error} ({error.code})"
