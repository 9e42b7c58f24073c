"""Messages of one sender, made field by field, and the rules by which they are read."""

from datetime import UTC, datetime
from uuid import UUID

from adapters.hl7v2.reader import Hl7v2Reader
from adapters.sites.hl7v2 import Hl7v2, Hl7v2Sender
from clinical.services.delivery import Delivery, Door, Reading

SITE = "north"
RECEIVED = datetime(2024, 6, 1, 12, tzinfo=UTC)
PID = "PID|1||p1^^^MRN^MR~999^^^SSA^SS||Doe^Jane||19600203|F"
SENDER = Hl7v2Sender(
    application="ADT", facility="GHH", patient_authority="MRN", time_zone="America/New_York"
)


def rules(**changes: object) -> Hl7v2:
    """The rules of the site, with these fields of its sender changed."""
    stated = {name: getattr(SENDER, name) for name in SENDER.__struct_fields__}
    return Hl7v2(senders=(Hl7v2Sender(**(stated | changes)),), peers=("127.0.0.1",))


def message(
    kind: str,
    *segments: str,
    control_id: str = "M1",
    at: str = "20240601070000-0400",
    charset: str = "",
    version: str = "2.5.1",
    processing: str = "P",
    acknowledge: str = "|",
) -> bytes:
    """A message with this MSH and these segments, as it travels."""
    msh = f"MSH|^~\\&|ADT|GHH|CJ|CJ|{at}||{kind}|{control_id}|{processing}|{version}|||{acknowledge}||{charset}"
    return "\r".join([msh, *segments, ""]).encode()


def delivery(body: bytes, received_at: datetime = RECEIVED) -> Delivery:
    """A message in the inbox."""
    return Delivery(
        delivery_id=UUID(int=7),
        site=SITE,
        door=Door.HL7V2,
        sender_id="ADT|GHH|M1",
        body=body,
        content_type="x-application/hl7-v2+er7",
        received_at=received_at,
    )


def read(body: bytes, **changes: object) -> Reading:
    """What is understood of a message."""
    return Hl7v2Reader({SITE: rules(**changes)}).read(delivery(body))


def reasons(reading: Reading) -> list[tuple[str, str]]:
    """Where something was set aside, and why."""
    return [(each.position, each.reason_code) for each in reading.quarantined]
