"""HL7 v2 and C-CDA of a site: who may send, and how their patients, times and letters are to be read."""

from ipaddress import ip_network
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

Charset = Literal[
    "ASCII",
    "8859/1",
    "8859/2",
    "8859/3",
    "8859/4",
    "8859/5",
    "8859/6",
    "8859/7",
    "8859/8",
    "8859/9",
    "8859/15",
    "UNICODE UTF-8",
]
"""HL7 table 0211, as far as it is read: what switches sets within a message is not."""


class Hl7v2Sender(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sending application of a site, by the first components of MSH-3 and MSH-4 (empty: not stated).

    The identifier in PID-3 whose assigning authority (PID-3.4: name or universal id; empty: one that
    names none) is `patient_authority`, and whose type (PID-3.5) is `patient_type` where that is not
    empty, is the id of the site's FHIR `Patient`. `time_zone` (IANA) is for times without a zone;
    empty: such times keep bounds. `charset` is for messages without MSH-18, in the words of HL7 table
    0211. A message with another processing id (MSH-11) is refused.
    """

    application: str
    facility: str
    patient_authority: str
    patient_type: str = ""
    time_zone: str = ""
    charset: Charset = "ASCII"
    processing_ids: tuple[str, ...] = ("P",)

    def __post_init__(self) -> None:
        """Refuse a zone that does not exist."""
        if self.time_zone:
            try:
                ZoneInfo(self.time_zone)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError("time_zone: no such IANA time zone") from error


class Hl7v2(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HL7 v2 senders of a site; only from `peers` (addresses or networks) they may connect."""

    senders: tuple[Hl7v2Sender, ...]
    peers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        for peer in self.peers:
            ip_network(peer)


class Ccda(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """C-CDA documents of a site.

    The id in `recordTarget/patientRole` whose root is `patient_root` has the id of the site's FHIR
    `Patient` as its extension.
    """

    patient_root: str
