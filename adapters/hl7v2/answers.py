"""Acknowledgements (HL7 v2 chapter 2, section 2.9): what became of a message, in the sender's own separators."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from adapters.hl7v2.header import Header
from clinical.errors import ClinicalError


class Verdict(StrEnum):
    """Of a message, in original mode."""

    ACCEPTED = "AA"
    ERROR = "AE"  # our trouble: come again
    REJECTED = "AR"  # never


_ACCEPT = {Verdict.ACCEPTED: "CA", Verdict.ERROR: "CE", Verdict.REJECTED: "CR"}
_WANTED = {
    "AL": frozenset(Verdict),
    "NE": frozenset[Verdict](),
    "ER": frozenset({Verdict.ERROR, Verdict.REJECTED}),
    "SU": frozenset({Verdict.ACCEPTED}),
}
_PLAIN = Header(
    separator="|",
    encoding="^~\\&",
    sender=("", ""),
    receiver=("", ""),
    application="",
    facility="",
    kind="",
    trigger="",
    control_id="",
    processing_id="P",
    version="2.5",
    accept="",
    acknowledge="",
)
_INTERNAL = "207"


def is_wanted(header: Header | None, verdict: Verdict) -> bool:
    """Whether the sender wants to hear it: MSH-15 in enhanced mode, always in original mode.

    A word that table 0155 does not have counts as "always": silence would be taken for loss.
    """
    if header is None or not header.is_enhanced:
        return True
    return verdict in _WANTED.get(header.accept, frozenset(Verdict))


def acknowledgement(
    header: Header | None,
    verdict: Verdict,
    *,
    at: datetime,
    answer_id: UUID,
    error: ClinicalError | None,
) -> bytes:
    """The message that answers; `header` is None where the one that came could not be read.

    Errors are told by our code for them; no text of the message is repeated but its MSH-3 to 6, 9.2 and 10.
    """
    to = header or _PLAIN
    s = to.separator
    code = _ACCEPT[verdict] if to.is_enhanced else verdict.value
    component = to.encoding[0]
    kind = component.join(["ACK", to.trigger]) if to.trigger else "ACK"
    # MSH-10 had 20 characters before 2.7: the last of the id are its random ones.
    own_id = answer_id.hex[-20:]
    moment = at.strftime("%Y%m%d%H%M%S") + "+0000"
    msh = ["MSH", to.encoding, *to.receiver, *to.sender, moment, "", kind, own_id]
    msh += [to.processing_id, to.version]
    segments = [s.join(msh), s.join(["MSA", code, to.control_id])]
    if error is not None:
        condition = getattr(error, "condition", _INTERNAL)
        segments.append(s.join(["ERR", "", "", condition, "E", "", "", "", error.code]))
    return ("\r".join(segments) + "\r").encode("ascii", "replace")
