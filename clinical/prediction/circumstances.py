"""How an answer was computed, and on which bytes as received its input rests.

Both are part of a capsule, and are values only: the model process knows the first, whoever asked it
the second. Neither holds anything that a patient's record says.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from clinical.timeline.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """How the numbers came about, beside model, code, torch and device.

    Every question is computed alone, whatever it travelled with (decision 17): how many questions
    were on the wire together changes no bit, and is not kept. What may change the last bits is the
    shape of the arithmetic: `num_questions` at once, and `num_events` of the newest ones in one piece.
    """

    tokeniser_digest: str  # hex SHA-256 of what, beside the code, turns events into numbers
    libraries: str  # those that compute, and their versions
    environment_digest: str  # hex SHA-256 over name and version of everything installed
    hardware: str  # a CPU's instruction set, or which GPU
    dtype: str
    is_deterministic: bool  # whether torch was told to run kernels only that repeat themselves
    num_threads: int
    num_members: int  # of the ensemble of predictor heads whose mean is said
    num_draws: int  # plans that a search by chance came to; 0 where the seed decided nothing
    num_questions: int
    num_events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """The bytes as received that an input rests on.

    The digest is over all records of the input, each with its delivery and the digest of that
    delivery's body, so that no byte of them can change unnoticed, nor its own record of what it was.
    """

    digest: str  # hex SHA-256 of the lines of `records_of`
    num_records: int
    num_deliveries: int


def deliveries_of(events: Iterable[Event]) -> frozenset[UUID]:
    """The deliveries that these events were read from."""
    return frozenset(event.source.delivery_id for event in events)


def records_of(events: Iterable[Event], held: Mapping[UUID, str]) -> list[str]:
    """One line a record version, sorted: site, type, id, version, digest, delivery, its digest.

    `held` gives the digest of each delivery's body; one that is not held has none.
    """
    events = tuple(events)
    came = {each: f"{each}\t{held.get(each, '')}" for each in deliveries_of(events)}
    sources = (event.source for event in events)
    return sorted(
        {
            f"{s.site}\t{s.record_type}\t{s.record_id}\t{s.version}\t{s.digest}\t{came[s.delivery_id]}"
            for s in sources
        }
    )


def received_of(events: Iterable[Event], held: Mapping[UUID, str]) -> Received:
    """On which bytes these events rest; `held` as for `records_of`."""
    events = tuple(events)
    lines = records_of(events, held)
    return Received(
        digest=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        num_records=len(lines),
        num_deliveries=len(deliveries_of(events)),
    )
