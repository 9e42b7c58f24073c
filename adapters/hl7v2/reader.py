"""A stored message to timeline events; what cannot be understood is quarantined, and nothing raises.

Knows which kinds of message are read, and which carry nothing that is. Does not know sockets.
"""

from collections.abc import Callable, Mapping

from adapters.hl7v2 import movements, pharmacy, results
from adapters.hl7v2.errors import Reason, RefusedMessageError, SegmentError
from adapters.hl7v2.header import Header, read_header
from adapters.hl7v2.message import parsed
from adapters.hl7v2.scene import Scene
from adapters.hl7v2.senders import sender_of
from adapters.sites.hl7v2 import Hl7v2, Hl7v2Sender
from clinical.services.delivery import Delivery, Quarantined, Reading

READ: dict[str, Callable[[Scene], None]] = {
    **{f"ADT^{trigger}": movements.movement for trigger in sorted(movements.READ)},
    "ADT^A40": movements.merge,
    "ORU^R01": results.results,
    "RDE^O01": pharmacy.orders,
    "RDE^O11": pharmacy.orders,
    "RDE^O25": pharmacy.orders,
    "RAS^O01": pharmacy.administrations,
    "RAS^O17": pharmacy.administrations,
    "VXU^V04": pharmacy.immunizations,
}
"""The kinds of message that become events, or a merge."""

WITHOUT_EVENTS: dict[str, str] = {
    "ADT^A05": "a visit is planned",
    "ADT^A09": "the patient is on the way",
    "ADT^A10": "the patient arrived somewhere in the house",
    "ADT^A14": "an admission is expected",
    "ADT^A15": "a transfer is expected",
    "ADT^A16": "a discharge is expected",
    "ADT^A25": "a discharge is no longer expected",
    "ADT^A26": "a transfer is no longer expected",
    "ADT^A27": "an admission is no longer expected",
    "ADT^A60": "allergies",
    "BAR": "accounts",
    "DFT": "charges",
    "MDM": "documents",
    "OMG": "orders",
    "OML": "orders",
    "ORM": "orders",
    "OUL": "results by specimen",
    "PPR": "problems",
    "REF": "referrals",
    "SIU": "appointments",
}
"""Kinds, or all of a type, that are stored and counted as `skipped:` and carry no event here, with what they tell.

Whatever stands neither here nor in `READ` is quarantined: above all what says that an identity changed.
"""


class Hl7v2Reader:
    """Door.HL7V2 and HL7V2_FILE: one message each, by the rules of its site and sender."""

    def __init__(self, sites: Mapping[str, Hl7v2]) -> None:
        """The rules, by site."""
        self._sites = sites

    def read(self, delivery: Delivery) -> Reading:
        """Understand one message."""
        kind = ""
        try:
            sender = self._sender(delivery)
            scene = Scene(
                delivery=delivery, message=parsed(delivery.body, sender.charset), sender=sender
            )
            kind = scene.message.kind
            return _read(scene, kind)
        except SegmentError as error:
            reading = Reading()
            reading.quarantined.append(_whole(delivery, kind, error))
            return reading

    def _sender(self, delivery: Delivery) -> Hl7v2Sender:
        if "problem" in delivery.context:
            raise SegmentError(Reason(delivery.context["problem"]), "the file is not read")
        header = _header(delivery.body)
        found = sender_of(self._sites.get(delivery.site), header.application, header.facility)
        if found is None:
            raise SegmentError(
                Reason.UNKNOWN_SENDER, "MSH-3, MSH-4: the site has no rules for this sender"
            )
        return found


def _header(body: bytes) -> Header:
    try:
        return read_header(body)
    except RefusedMessageError as error:
        raise SegmentError(Reason.NOT_HL7, str(error)) from error


def _read(scene: Scene, kind: str) -> Reading:
    understand = READ.get(kind)
    if understand is not None:
        understand(scene)
    elif kind in WITHOUT_EVENTS or kind.split("^", maxsplit=1)[0] in WITHOUT_EVENTS:
        scene.count(f"skipped:{kind}")
    else:
        raise SegmentError(Reason.EVENT_NOT_READ, "MSH-9: messages of this kind are not read")
    return scene.reading


def _whole(delivery: Delivery, kind: str, error: SegmentError) -> Quarantined:
    return Quarantined(
        position="",
        record_type=kind,
        record_id="",
        digest=delivery.digest,
        reason_code=error.reason.value,
        detail=error.detail,
    )
