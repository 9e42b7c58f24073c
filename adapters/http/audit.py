"""The audit log as anybody signed in may check it: its head, and proof that an entry is in it."""

from uuid import UUID

from fastapi import APIRouter

from adapters.http.dependencies import Given
from adapters.http.schemas import Head, InclusionProof, problems
from adapters.http.sessions import SignedInAnybody

routes = APIRouter(prefix="/v1/audit", tags=["audit"])


@routes.get("/head", responses=problems(401))
def head(_session: SignedInAnybody, given: Given) -> Head:
    """The newest tree head; whoever keeps it can catch any later edit."""
    with given.open_unit_of_work() as uow:
        newest = uow.audit_log.head()
    return Head(size=newest.size, root=newest.root.hex())


@routes.get("/entries/{entry_id}/proof", responses=problems(401, 404, 422, 503))
def proof(entry_id: UUID, _session: SignedInAnybody, given: Given) -> InclusionProof:
    """Proof that the entry stands under the newest head."""
    found = given.audit.proof_of(entry_id)
    return InclusionProof(
        canonical_entry=found.entry.canonical().decode(),
        leaf=found.entry.leaf_hash.hex(),
        index=found.index,
        path=[sibling.hex() for sibling in found.path],
        head=Head(size=found.head.size, root=found.head.root.hex()),
    )
