"""One message at the door: who sends it, may it be stored, stored raw in one commit, and what to answer.

Knows the order of checks (load, size, header, sender) and the intake contract. Does not know sockets,
nor what a message means.
"""

from dataclasses import dataclass

from adapters import telemetry
from adapters.hl7v2.answers import Verdict, acknowledgement, is_wanted
from adapters.hl7v2.errors import OversizeMessageError
from adapters.hl7v2.framing import Frame
from adapters.hl7v2.header import Header, read_header, require_meant, require_takeable
from adapters.hl7v2.senders import Senders
from clinical.audit.entry import Act
from clinical.errors import ClinicalError, OperationalError, RejectedError
from clinical.services.delivery import Delivery, Door
from clinical.services.intake import Intake
from clinical.services.ports import Clock, Identities
from clinical.services.shedding import SheddingService

CONTENT_TYPE = "x-application/hl7-v2+er7"
_log = telemetry.logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back; no bytes where the sender wants to hear nothing.

    `may_go_on` is false where a sender that wants to hear nothing must yet learn that its message was
    not stored: then the connection is closed.
    """

    body: bytes
    verdict: Verdict
    may_go_on: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDoor:
    """Door.HL7V2: the same message again gets the same answer, its id for other bytes is refused."""

    intake: Intake
    shedding: SheddingService
    senders: Senders
    clock: Clock
    identities: Identities

    def take(self, frame: Frame, address: str) -> Answer:
        """Store it and say so; whatever goes wrong is an answer too, never an exception of ours."""
        header: Header | None = None
        site = ""
        error: ClinicalError | None = None
        try:
            header = read_header(frame.body)
            site = self._store(frame, header, address)
            verdict = Verdict.ACCEPTED
        except OperationalError as ours:
            verdict, error = Verdict.ERROR, ours
        except RejectedError as theirs:
            verdict, error = Verdict.REJECTED, theirs
        except Exception as bug:  # noqa: BLE001 - the sender keeps the message and comes again
            verdict, error = Verdict.ERROR, ClinicalError("the message could not be stored")
            _log.error("hl7v2.door_failed", **telemetry.error_fields(bug))
        if error is not None:
            _log.warning(
                "hl7v2.not_stored", error_code=error.code, site=site, door=Door.HL7V2.value
            )
        return self._answer(header, verdict, error)

    def _store(self, frame: Frame, header: Header, address: str) -> str:
        require_takeable(header)
        site, sender = self.senders.find(address, header.application, header.facility)
        require_meant(header, sender)
        if frame.is_oversize:
            raise OversizeMessageError("the message is larger than CLINICAL_MLLP_MAX_BYTES")
        self.shedding.now()
        self.shedding.require_room()
        at = self.clock.now()
        delivery = Delivery(
            delivery_id=self.identities.new(),
            site=site,
            door=Door.HL7V2,
            sender_id=sender_id(header),
            body=frame.body,
            content_type=CONTENT_TYPE,
            received_at=at,
        )
        self.intake.receive(delivery, Act(actor=f"site:{site}", at=at))
        return site

    def _answer(
        self, header: Header | None, verdict: Verdict, error: ClinicalError | None
    ) -> Answer:
        if not is_wanted(header, verdict):
            return Answer(body=b"", verdict=verdict, may_go_on=verdict is Verdict.ACCEPTED)
        body = acknowledgement(
            header,
            verdict,
            at=self.clock.now(),
            answer_id=self.identities.new(),
            error=error,
        )
        return Answer(body=body, verdict=verdict)


def sender_id(header: Header) -> str:
    """What names a message among all of its site: sender and control id (MSH-3, MSH-4, MSH-10)."""
    return "|".join((header.application, header.facility, header.control_id))
