"""When the right answer is "not enough to say", with its reason."""

from dataclasses import dataclass
from enum import StrEnum


class AbstentionReason(StrEnum):
    """Why no answer is given."""

    TOO_FEW_EVENTS = "too_few_events"
    UNFAMILIAR_PATIENT = "unfamiliar_patient"  # far from everything the model was trained on
    UNFAMILIAR_CODES = "unfamiliar_codes"  # too large a share of the codes is unknown to the model
    NOT_CALIBRATED = "not_calibrated"  # too few outcomes to know what the score means
    INTERVAL_TOO_WIDE = "interval_too_wide"
    HEADS_DISAGREE = "heads_disagree"
    NEVER_MEASURED = "never_measured"  # the patient has no value from which to forecast
    PATIENT_DECEASED = "patient_deceased"  # the record says so: there is no course to foretell
    MODEL_NOT_NUMERIC = "model_not_numeric"  # the model answered with something that is no number
    IMPLAUSIBLE_VALUE = "implausible_value"  # a newest value lies where no value can be told apart
    HORIZON_BEYOND_REACH = "horizon_beyond_reach"  # later than the model was trained to foretell
    UNKNOWN_ACTION = "unknown_action"  # the plan holds an action that the model never met
    PLAN_TOO_LONG = "plan_too_long"  # more actions than the model can read
    SUPPORT_UNKNOWN = "support_unknown"  # nothing says how usual the plans are
    NO_ALLOWED_PLAN = "no_allowed_plan"  # a constraint forbids each of the decisions asked about
    PLAN_UNUSUAL = "plan_unusual"  # the best plan was hardly ever followed by similar patients


@dataclass(frozen=True, slots=True)
class Abstention:
    """An answer withheld; `detail` says in a sentence, without patient data, what was missing."""

    reason: AbstentionReason
    detail: str
