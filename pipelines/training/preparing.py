"""What every run needs before it can train: a vocabulary, and the patients as cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.units import conversion
from clinical.errors import RejectedError
from clinical.timeline.timeline import Timeline
from clinical.worldmodel.fitting import fit
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import Vocabulary
from pipelines.training.dataset import Case, Split, case_of
from pipelines.training.recipes import Recipe

# Units that a hospital may send instead of those in the training data; tried once per code.
_UNITS_TEXT = (
    "% 1 mg/dL g/dL g/L mg/L ug/dL ug/L ng/mL ng/dL pg/mL mmol/L umol/L nmol/L mol/L meq/L "
    "mmol/mol 10*3/uL 10*9/L 10*6/uL 10*12/L /uL fL pg kg g [lb_av] [oz_av] cm m [in_i] [ft_i] "
    "mm[Hg] kPa Cel [degF] K kg/m2 /min U/L [IU]/L m[IU]/L mL/min mL/min/{1.73_m2} mg/g mL L "
    "{score} s min h mm/h"
)
COMMON_UNITS = tuple(_UNITS_TEXT.split())


class TooFewPatientsError(RejectedError):
    """There are not enough patients to train, validate and calibrate."""

    code = "training.too_few_patients"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The vocabulary of the training patients, and the cases of each split."""

    vocabulary: Vocabulary
    tensorizer: Tensorizer
    cases: dict[Split, list[Case]]


def prepare(recipe: Recipe, splits: Mapping[Split, Sequence[Timeline]]) -> Prepared:
    """Fit the vocabulary and read the patients.

    Raises:
        TooFewPatientsError
    """
    vocabulary = fit(
        splits[Split.TRAINING], conversion, common_units=COMMON_UNITS, config=recipe.vocabulary
    )
    tensorizer = Tensorizer(vocabulary, recipe.model.clock_days)
    cases = {
        split: [case for t in members if (case := case_of(t, tensorizer)) is not None]
        for split, members in splits.items()
    }
    if min(len(members) for members in cases.values()) < 2:
        raise TooFewPatientsError("too few patients with at least two moments on record")
    return Prepared(vocabulary, tensorizer, cases)
