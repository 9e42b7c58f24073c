"""Files of HL7 v2 to deliveries: each message one, its bytes as they are; batches (FHS, BHS) are cut.

The bytes name a message taken from a file: an archive may hold one control id many times. File names
are never passed on: they often are names of patients.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from adapters.hl7v2.door import CONTENT_TYPE
from adapters.hl7v2.errors import Reason
from clinical.services.delivery import Delivery, Door
from clinical.services.ports import Clock, Identities

ENDINGS = (".hl7", ".hl7v2", ".er7")
MAX_BYTES = 64 * 1024 * 1024
_ENVELOPE = re.compile(rb"(?:^|(?<=[\r\n\x0b]))(?:FHS|BHS|BTS|FTS)[^\r\n]*[\r\n]*")
_NEXT = re.compile(rb"(?<=[\r\n\x0b])(?=MSH[^0-9A-Za-z\s])")
_AROUND = b"\x0b\x1c\r\n "
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_hl7(path: Path) -> bool:
    """Whether the ending says that it is HL7 v2."""
    return path.name.lower().endswith(ENDINGS)


def deliveries(
    path: Path, *, site: str, clock: Clock, identities: Identities
) -> Iterator[Delivery]:
    """Each message of a file in its order; a file above 64 MiB becomes one delivery that says so."""
    context: dict[str, str] = {}
    if path.stat().st_size > MAX_BYTES:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        context, bodies, ids = {"problem": Reason.TOO_LARGE.value}, [b""], [digest]
    else:
        bodies = messages(path.read_bytes())
        ids = [hashlib.sha256(body).hexdigest() for body in bodies]
    for body, sender_id in zip(bodies, ids, strict=True):
        yield Delivery(
            delivery_id=identities.new(),
            site=site,
            door=Door.HL7V2_FILE,
            sender_id=sender_id,
            body=body,
            content_type=CONTENT_TYPE,
            received_at=clock.now(),
            context=context,
        )


def messages(content: bytes) -> list[bytes]:
    """The messages of a file; a file of one message, or of what is none, is that one as it is."""
    start = content.removeprefix(_BYTE_ORDER_MARK)[:16].lstrip(_AROUND)
    is_batch = start[:3] in (b"FHS", b"BHS")
    if not is_batch and b"MSH" not in content[8:]:
        return [content.strip(_AROUND) if content.startswith(b"\x0b") else content]
    found = _NEXT.split(_ENVELOPE.sub(b"", content) if is_batch else content)
    return [kept for each in found if (kept := each.strip(_AROUND))] or [content]
