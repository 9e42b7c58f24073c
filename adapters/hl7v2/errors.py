"""Why a message is not taken, or a record of it cannot be understood.

Details name segments, fields and rules; they never hold a value from the message.
"""

from enum import StrEnum

from clinical.errors import RejectedError


class RefusedMessageError(RejectedError):
    """The root of what will never be taken, however often it is sent: answered AR.

    `condition` is the code of HL7 table 0357 that the answer carries.
    """

    code = "hl7v2.refused"
    condition = "207"


class MalformedHeaderError(RefusedMessageError):
    """There is no MSH segment that says who sends what, under which id."""

    code = "hl7v2.malformed_header"
    condition = "100"


class UnknownSenderError(RefusedMessageError):
    """No site has such a sender at this address, or several have."""

    code = "hl7v2.unknown_sender"
    condition = "101"


class UnsupportedVersionError(RefusedMessageError):
    """MSH-12 is not a version 2.1 to 2.9."""

    code = "hl7v2.unsupported_version"
    condition = "203"


class UnsupportedProcessingError(RefusedMessageError):
    """MSH-11 says that the message is for training or debugging, or nothing."""

    code = "hl7v2.unsupported_processing"
    condition = "202"


class UnsupportedMessageError(RefusedMessageError):
    """An acknowledgement, or a batch where a message was expected."""

    code = "hl7v2.unsupported_message"
    condition = "200"


class OversizeMessageError(RefusedMessageError):
    """The message is larger than this service takes."""

    code = "hl7v2.oversize"


class PortTakenError(RejectedError):
    """Something else listens where MLLP was to be served."""

    code = "hl7v2.port_taken"


class NobodyMaySendError(RejectedError):
    """No site of the sites file has HL7 v2 senders and an address that they may send from."""

    code = "hl7v2.no_senders"


class UnreadableCertificateError(RejectedError):
    """The certificate, its key or the certificates of clients cannot be read."""

    code = "hl7v2.unreadable_certificate"


class Reason(StrEnum):
    """The stable reason codes of quarantined messages and segments. Append only."""

    NOT_HL7 = "hl7v2.not_hl7"
    UNKNOWN_SENDER = "hl7v2.unknown_sender"
    UNKNOWN_CHARSET = "hl7v2.unknown_charset"
    UNDECODABLE = "hl7v2.undecodable"
    BATCH = "hl7v2.batch"
    TOO_LARGE = "hl7v2.too_large"
    EVENT_NOT_READ = "hl7v2.event_not_read"
    MISSING_SEGMENT = "hl7v2.missing_segment"
    MISSING_PATIENT = "hl7v2.missing_patient"
    AMBIGUOUS_PATIENT = "hl7v2.ambiguous_patient"
    MISSING_VISIT = "hl7v2.missing_visit"
    MISSING_ORDER = "hl7v2.missing_order_number"
    MISSING_CODE = "hl7v2.missing_code"
    IMPOSSIBLE_TIME = "hl7v2.impossible_time"
    VISIT_REVERSED = "hl7v2.visit_reversed"
    MALFORMED_VALUE = "hl7v2.malformed_value"
    UNKNOWN_STATUS = "hl7v2.unknown_status"
    STATUS_WITHOUT_RESULT = "hl7v2.status_without_result"
    SELF_MERGE = "hl7v2.self_merge"


class SegmentError(RejectedError):
    """A segment, or a whole message, breaks a rule: `reason` is stable."""

    code = "hl7v2.segment"

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep the reason beside the sentence."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
