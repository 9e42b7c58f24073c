"""The audit log as anybody may check it: signed checkpoints, proofs as files, and what witnesses say.

Checkpoints hold a size and a hash, so they are told to everybody; entries only to who is signed in.
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from adapters.http.bodies import read_limited
from adapters.http.dependencies import Given
from adapters.http.schemas import Accepted, GrowthProof, problems
from adapters.http.sessions import SignedInAnybody
from clinical.audit.checkpoint import MalformedNoteError, Note

routes = APIRouter(prefix="/v1/ledger", tags=["ledger"])

_MAX_NOTE_BYTES = 64 * 1024


@routes.get("/key", response_class=PlainTextResponse)
def key(given: Given) -> PlainTextResponse:
    """The key with which checkpoints of this log are checked, as in c2sp.org/signed-note."""
    return PlainTextResponse(given.ledger.notary.key.to_text() + "\n")


@routes.get("/checkpoint", response_class=PlainTextResponse, responses=problems(503))
def checkpoint(given: Given) -> PlainTextResponse:
    """The newest signed head, as in c2sp.org/tlog-checkpoint, with the cosignatures of witnesses."""
    return PlainTextResponse(given.ledger.checkpoint().to_text())


@routes.get("/growth", responses=problems(404, 422))
def growth(
    old: Annotated[int, Query(ge=0)], size: Annotated[int, Query(ge=0)], given: Given
) -> GrowthProof:
    """Proof that the log of `size` entries begins with its first `old`: nothing was changed since."""
    return GrowthProof(path=[each.hex() for each in given.audit.growth(old, size)])


@routes.get(
    "/entries/{entry_id}/proof",
    response_class=PlainTextResponse,
    responses=problems(401, 404, 422, 503),
)
def proof(entry_id: UUID, _session: SignedInAnybody, given: Given) -> PlainTextResponse:
    """The entry's proof as a file that is checked without this service: c2sp.org/tlog-proof."""
    return PlainTextResponse(given.ledger.proof(entry_id))


@routes.post("/cosignatures", responses=problems(400, 403, 413))
async def cosign(request: Request, given: Given) -> Accepted:
    """Take in what a witness signed: a checkpoint of this log with its cosignature under it."""
    body = await read_limited(request, _MAX_NOTE_BYTES)
    try:
        note = Note.from_text(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedNoteError("this is no signed note") from error
    return Accepted(num_accepted=await run_in_threadpool(given.ledger.accept, note))
