"""Why a record or a whole delivery could not be understood.

The details name elements and rules; they never hold a value from the record.
"""

from enum import StrEnum

from clinical.errors import RejectedError


class Reason(StrEnum):
    """The stable reason codes of quarantined records. Append only."""

    NOT_JSON = "fhir.not_json"
    NOT_AN_OBJECT = "fhir.not_an_object"
    NO_RESOURCE_TYPE = "fhir.no_resource_type"
    UNKNOWN_RESOURCE_TYPE = "fhir.unknown_resource_type"
    TRUNCATED_FILE = "fhir.truncated_file"
    NOT_GZIP = "fhir.not_gzip"
    DECOMPRESSION_BOMB = "fhir.decompression_bomb"
    TOO_LARGE = "fhir.too_large"
    LINE_TOO_LONG = "fhir.line_too_long"
    TOO_DEEP = "fhir.too_deep"
    INVALID = "fhir.invalid"
    UNKNOWN_ELEMENT = "fhir.unknown_element"
    MISSING_ELEMENT = "fhir.missing_element"
    WRONG_TYPE = "fhir.wrong_type"
    CODE_NOT_ALLOWED = "fhir.code_not_allowed"
    EMPTY_STRING = "fhir.empty_string"
    FORBIDDEN_CHARACTER = "fhir.forbidden_character"
    NUMBER_OUT_OF_RANGE = "fhir.number_out_of_range"
    IMPOSSIBLE_TIME = "fhir.impossible_time"
    PERIOD_REVERSED = "fhir.period_reversed"
    TWO_VALUES = "fhir.two_values"
    BAD_ID = "fhir.bad_id"
    MISSING_ID = "fhir.missing_id"
    ID_MISMATCH = "fhir.id_mismatch"
    MISSING_CODE = "fhir.missing_code"
    MISSING_PATIENT = "fhir.missing_patient"
    UNRESOLVED_REFERENCE = "fhir.unresolved_reference"
    LOGICAL_REFERENCE = "fhir.logical_reference"
    SUBJECT_NOT_PATIENT = "fhir.subject_not_patient"
    UNKNOWN_MODIFIER = "fhir.unknown_modifier"
    ENTRY_WITHOUT_RESOURCE = "fhir.entry_without_resource"
    DELETION_NOT_READ = "fhir.deletion_not_read"
    NESTED_BUNDLE = "fhir.nested_bundle"
    FOREIGN_REFERENCE = "fhir.foreign_reference"
    LEFT_OUT = "fhir.left_out"


class RecordError(RejectedError):
    """A record breaks a rule: `reason` is stable, the message names the element and the rule."""

    code = "fhir.record"

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep the reason beside the sentence."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class DeliveryError(RecordError):
    """A whole delivery cannot be opened: nothing in it was understood."""

    code = "fhir.delivery"
