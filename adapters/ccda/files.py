"""Files of C-CDA to deliveries: a document each, its bytes as they are, named by their digest.

Imports nothing heavy: whoever only stores documents needs no XML.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from adapters.ccda.errors import Reason
from clinical.services.delivery import Delivery, Door
from clinical.services.ports import Clock, Identities

ENDINGS = (".xml", ".ccda", ".cda")
MAX_BYTES = 16 * 1024 * 1024


def is_ccda(path: Path) -> bool:
    """Whether the ending says that it is a document in XML."""
    return path.name.lower().endswith(ENDINGS)


def deliveries(
    path: Path, *, site: str, clock: Clock, identities: Identities
) -> Iterator[Delivery]:
    """The document; one above 16 MiB becomes a delivery that says so."""
    is_large = path.stat().st_size > MAX_BYTES
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    yield Delivery(
        delivery_id=identities.new(),
        site=site,
        door=Door.CCDA_FILE,
        sender_id=digest,
        body=b"" if is_large else path.read_bytes(),
        content_type="text/xml",
        received_at=clock.now(),
        context={"problem": Reason.TOO_LARGE.value} if is_large else {},
    )
