"""The audit log as anybody signed in may check it: its head, and proof that an entry is in it."""

from uuid import UUID

from fastapi import APIRouter

from adapters.http.dependencies import Given
from adapters.http.errors import NotYetSequencedError
from adapters.http.schemas import Head, InclusionProof, problems
from adapters.http.sessions import SignedInClinician
from clinical.audit.entry import AuditEntry
from clinical.audit.proof import inclusion_path
from clinical.errors import NotFoundError
from clinical.services.ports import UnitOfWork

routes = APIRouter(prefix="/v1/audit", tags=["audit"])


@routes.get("/head", responses=problems(401))
def head(_session: SignedInClinician, given: Given) -> Head:
    """The newest tree head; whoever keeps it can catch any later edit."""
    with given.open_unit_of_work() as uow:
        newest = uow.audit_log.head()
    return Head(size=newest.size, root=newest.root.hex())


@routes.get("/entries/{entry_id}/proof", responses=problems(401, 404, 422, 503))
def proof(entry_id: UUID, _session: SignedInClinician, given: Given) -> InclusionProof:
    """Proof that the entry stands under the newest head; reads all leaves, so ask for it rarely."""
    with given.open_unit_of_work() as uow:
        newest = uow.audit_log.head()
        index, entry, leaves = _find(uow, entry_id, newest.size)
    return InclusionProof(
        canonical_entry=entry.canonical().decode(),
        leaf=leaves[index].hex(),
        index=index,
        path=[sibling.hex() for sibling in inclusion_path(index, leaves)],
        head=Head(size=newest.size, root=newest.root.hex()),
    )


def _find(uow: UnitOfWork, entry_id: UUID, size: int) -> tuple[int, AuditEntry, list[bytes]]:
    """Where the entry stands, and all leaves under the head of this size."""
    leaves: list[bytes] = []
    found = None
    for index, entry, leaf in uow.audit_log.sequenced():
        if index >= size:
            break
        leaves.append(leaf)
        if entry.entry_id == entry_id:
            found = index, entry
    if found is not None:
        return *found, leaves
    if uow.audit_log.unsequenced():
        raise NotYetSequencedError("no leaf of this entry yet, and some entries still wait")
    raise NotFoundError("no audit entry has this id")
