"""What the door must know of a message before it is stored: its MSH, read from the bytes.

Knows MSH alone, in ASCII. Everything else is understood later, by the kept library.
"""

import re
from dataclasses import dataclass

from adapters.hl7v2.errors import (
    MalformedHeaderError,
    UnsupportedMessageError,
    UnsupportedProcessingError,
    UnsupportedVersionError,
)
from adapters.sites.hl7v2 import Hl7v2Sender

_VERSION = re.compile(r"2\.[1-9](\.[0-9]{1,2})?")
_CONTROL_ID = re.compile(r"[\x20-\x7e]{1,199}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The fields of MSH that matter at the door, as stated: escape sequences are left alone.

    `application` and `facility` are the first components of MSH-3 and MSH-4, `sender` and `receiver`
    the whole fields 3 and 4, 5 and 6.
    """

    separator: str
    encoding: str
    sender: tuple[str, str]
    receiver: tuple[str, str]
    application: str
    facility: str
    kind: str
    trigger: str
    control_id: str
    processing_id: str
    version: str
    accept: str
    acknowledge: str

    @property
    def is_enhanced(self) -> bool:
        """Whether the sender asks for an accept acknowledgement of its own (MSH-15)."""
        return bool(self.accept)


def read_header(message: bytes) -> Header:
    """The MSH of a message, as far as it can be read; nothing in it is judged.

    Raises:
        MalformedHeaderError: there is none.
        UnsupportedMessageError: the message is a batch.
    """
    text = message[:8192].removeprefix(_BYTE_ORDER_MARK).lstrip(b"\r\n ")
    if text[:3] in (b"FHS", b"BHS"):
        raise UnsupportedMessageError("a batch is taken by `clinical import`, not here")
    if text[:3] != b"MSH" or len(text) < 8:
        raise MalformedHeaderError("the message does not begin with MSH")
    segment = re.split(rb"[\r\n]", text, maxsplit=1)[0].decode("ascii", "replace")
    separator = segment[3]
    fields = segment.split(separator)
    encoding = fields[1]
    if separator.isalnum() or separator.isspace() or not encoding or encoding[0].isalnum():
        raise MalformedHeaderError("MSH-1 or MSH-2: no separators")
    fields += [""] * (20 - len(fields))
    component = encoding[0]

    def first(index: int) -> str:
        return fields[index - 1].split(component)[0].strip()

    kind = fields[8].split(component)
    return Header(
        separator=separator,
        encoding=encoding,
        sender=(fields[2], fields[3]),
        receiver=(fields[4], fields[5]),
        application=first(3),
        facility=first(4),
        kind=kind[0].strip(),
        trigger=kind[1].strip() if len(kind) > 1 else "",
        control_id=fields[9],
        processing_id=first(11),
        version=first(12),
        accept=first(15).upper(),
        acknowledge=first(16).upper(),
    )


def require_takeable(header: Header) -> None:
    """Return if the message is one that may be stored, whoever sent it.

    Raises:
        MalformedHeaderError, UnsupportedMessageError, UnsupportedVersionError
    """
    if not _CONTROL_ID.fullmatch(header.control_id) or not header.control_id.strip():
        raise MalformedHeaderError("MSH-10: 1 to 199 characters that can be printed")
    if not header.kind.isalnum():
        raise MalformedHeaderError("MSH-9: the message does not say of what type it is")
    if header.kind.upper() in {"ACK", "MCF"}:
        raise UnsupportedMessageError("an acknowledgement is not acknowledged")
    if not _VERSION.fullmatch(header.version):
        raise UnsupportedVersionError("MSH-12: versions 2.1 to 2.9 are taken")


def require_meant(header: Header, sender: Hl7v2Sender) -> None:
    """Return if the processing id is one of the sender's; raises UnsupportedProcessingError."""
    if header.processing_id not in sender.processing_ids:
        raise UnsupportedProcessingError("MSH-11: this processing id is not taken of this sender")
