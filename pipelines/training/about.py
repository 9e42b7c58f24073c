"""What a card says of a model's origin in words: whose the data are, under which licence, and for what.

Knows sentences only; every figure comes from the report of the run.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The origin of a model and its uses; `limits` are those that hold beside the figures."""

    data: str
    licence: str
    is_for: str
    is_not_for: str
    limits: tuple[str, ...]


_ALWAYS = (
    "Abstains for the deceased, for too few events, unknown codes, unfamiliar patients, and per readout "
    "where it was not calibrated, was never measured, is too wide or its heads disagree.",
    "Where a quantity was measured too rarely in a window, its interval is calibrated over all "
    "quantities of that window together (calibration id `…/pooled/…`).",
    "A forecast under a plan is of similar patients under that plan, not the plan's effect.",
    "No comparison with boosted trees was made in this run; [BENCHMARKS](../../../../BENCHMARKS.md) holds "
    "those that were made.",
)
_NOT_FOR = (
    "Decisions about patients. It is not a medical device, was never tried in a hospital, and must not be "
    "used to diagnose, to treat, to triage, or to withhold care."
)

SAMPLES = About(
    data="The 120 training patients of the shipped samples: FHIR R4 Bundles written by Synthea v2.4. "
    "**Synthetic: no real person, and no evidence about real ones.** Synthea is plumbing: its acute "
    "illnesses come at random, so how well they are foretold says nothing about a hospital.",
    licence="Copyright 2018 Boston Children's Hospital (SMART Health IT generated sample data), Apache "
    "License 2.0.",
    is_for="Showing and testing that the whole line works, from a FHIR Bundle to a signed decision.",
    is_not_for=_NOT_FOR,
    limits=(
        "Windows of 0–7, 7–30, 30–90 and 90–365 days; others are answered in latents only.",
        *_ALWAYS,
    ),
)

OWN = About(
    data="Patients in FHIR files given by whoever ran the training.",
    licence="That of whoever gave them.",
    is_for="What whoever trained it says.",
    is_not_for=_NOT_FOR,
    limits=_ALWAYS,
)

INTENSIVE_CARE = About(
    data="`set-a` of the PhysioNet / Computing in Cardiology Challenge 2012: the first 48 hours of 4,000 stays "
    "of adults in the intensive care units of one hospital in Boston, **real and de-identified**, of whom one "
    "in seven died in hospital. Only stays of at least 48 hours are in it, from years before 2009.",
    licence="Open Data Commons Attribution License 1.0, by which this model is attributed to: Silva I, Moody "
    "G, Scott DJ, Celi LA, Mark RG. *Predicting in-hospital mortality of ICU patients: the "
    "PhysioNet/Computing in Cardiology Challenge 2012.* Computing in Cardiology 2012;39:245–248; and "
    "Goldberger A, et al. *PhysioBank, PhysioToolkit, and PhysioNet.* Circulation 2000;101(23):e215–e220. "
    "The data themselves are not part of this project.",
    is_for="Showing, on real and openly licensed stays, forecasts of vitals and laboratory values with their "
    "bands, a calibrated risk, and abstention; and as a point of comparison for others' models.",
    is_not_for=_NOT_FOR,
    limits=(
        "Windows of 0–6, 6–12, 12–18 and 18–24 hours, and death in hospital until discharge; visits and new "
        "diagnoses are not foretold: they belong to outpatient life.",
        "Knows no treatment but ventilation, no diagnoses and no notes: the challenge holds none. What it "
        "foretells happens under the care that such patients usually got.",
        "Death in hospital was learned and calibrated at 12, 24, 36 and 48 hours after admission to intensive "
        "care, of patients who stayed at least 48: at other times, and of patients who leave earlier, the "
        "risk is likely to be wrong.",
        "Values were calibrated at 6, 12, 18 and 24 hours after admission, for the record ends at 48: asked later, "
        "their bands may be too narrow or too wide.",
        "One hospital, one country, years ago: elsewhere it must be calibrated anew.",
        *_ALWAYS,
    ),
)
