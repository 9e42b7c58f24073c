"""From raw answers to readouts a clinician can read: calibrated, with intervals, or withheld.

Knows units, calibration and the limits beyond which a readout is withheld. Does not know tensors'
origins: it is given an answer and says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.calibration import PlattCalibration, ReliabilityBin
from clinical.prediction.horizon import Horizon
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.timeline.code import Code
from clinical.worldmodel.answering import Answer, History
from clinical.worldmodel.calibrated import Calibration, QuantityCalibration
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.declining import BEYOND_REACH
from clinical.worldmodel.evidence import Leaning, leaned_on, prognosis_leaned_on
from clinical.worldmodel.families import FORETOLD
from clinical.worldmodel.incidence import cumulative_log_odds, is_told
from clinical.worldmodel.probe import Prognosis
from clinical.worldmodel.vocabulary import ValueScale, Vocabulary

_NOT_CALIBRATED = Abstention(
    AbstentionReason.NOT_CALIBRATED, "too few calibration patients had this outcome in this window"
)
_NEVER_MEASURED = Abstention(
    AbstentionReason.NEVER_MEASURED, "no value is on record from which to forecast"
)
_DISAGREE = Abstention(
    AbstentionReason.HEADS_DISAGREE, "the model's heads differ too much from each other"
)
_TOO_WIDE = Abstention(
    AbstentionReason.INTERVAL_TOO_WIDE, "the interval says no more than that of all patients would"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Says what the network answered."""

    vocabulary: Vocabulary
    windows: tuple[tuple[float, float], ...]
    calibration: Calibration
    limits: AbstentionLimits

    def risks(self, answer: Answer, leaning: Leaning, horizons: Sequence[Horizon]) -> list[Readout]:
        """Each foretold risk in each horizon."""
        said = []
        for horizon in horizons:
            if not is_told(answer.raw, self.windows, horizon):
                drafts = (_Draft(str(risk), ReadoutKind.PROBABILITY, horizon) for risk in FORETOLD)
                said += [draft.withheld(BEYOND_REACH) for draft in drafts]
                continue
            log_odds = cumulative_log_odds(answer.raw, self.windows, horizon)[0]
            for place, risk in enumerate(FORETOLD):
                heads: list[float] = log_odds[:, place].tolist()
                fitted = self.calibration.probabilities.get(f"{risk}|{horizon.label}")
                evidence = leaned_on(leaning, answer, self.windows, horizon, place)
                said.append(self._risk(str(risk), horizon, heads, fitted).with_evidence(evidence))
        return [readout.finished() for readout in said]

    def prognoses(
        self, answer: Answer, leaning: Leaning, prognoses: Sequence[Prognosis]
    ) -> list[Readout]:
        """The outcomes that are read from the state."""
        said = []
        for prognosis in prognoses:
            heads: list[float] = prognosis.log_odds(answer.state)[0].tolist()
            fitted = self.calibration.probabilities.get(prognosis.key)
            draft = self._risk(prognosis.name, prognosis.horizon, heads, fitted)
            said.append(draft.with_evidence(prognosis_leaned_on(leaning, answer, prognosis)))
        return [readout.finished() for readout in said]

    def _risk(
        self, name: str, horizon: Horizon, heads: list[float], fitted: PlattCalibration | None
    ) -> "_Draft":
        draft = _Draft(name, ReadoutKind.PROBABILITY, horizon)
        if fitted is None or fitted.num_outcomes < self.limits.min_outcomes:
            return draft.withheld(_NOT_CALIBRATED)
        said = [fitted.probability(logit) for logit in heads]
        estimate = fitted.probability(sum(heads) / len(heads))
        low, high = min(*said, estimate), max(*said, estimate)
        if high - low > self.limits.max_head_range:
            return draft.withheld(_DISAGREE)
        # A further head like these would fall between the least and the most of n in (n-1)/(n+1).
        level = (len(heads) - 1) / (len(heads) + 1)
        draft.estimate = estimate
        draft.intervals = (Interval(low, high, level),)
        draft.calibration_id = fitted.calibration_id
        draft.reliability = _bin_of(fitted, estimate)
        return draft

    def quantities(
        self,
        answer: Answer,
        history: History,
        horizons: Sequence[Horizon],
        asked: Sequence[Horizon] = (),
    ) -> list[Readout]:
        """The next value of each followed code in each horizon; withheld for the others `asked`."""
        beyond = [horizon for horizon in asked if horizon not in horizons]
        quantiles = answer.raw.quantiles[0, -len(horizons) :].double()
        said = []
        for place, code in enumerate(self.vocabulary.numeric_codes):
            scale = self.vocabulary.scales[code.key]
            evidence = history.values.get(place, ())
            for number, horizon in enumerate(horizons):
                draft = _draft_of(code, scale.unit, horizon)
                fitted = self.calibration.quantities.get(f"{code.key}|{horizon.label}")
                if not evidence:
                    draft.withheld(_NEVER_MEASURED)
                else:
                    heads = quantiles[number, :, place] * scale.sd + scale.mean
                    self._quantity(draft, scale, heads.tolist(), fitted)
                said.append(draft.with_evidence(evidence).finished())
            withheld = (_draft_of(code, scale.unit, h).withheld(BEYOND_REACH) for h in beyond)
            said += [draft.finished() for draft in withheld]
        return said

    def _quantity(
        self,
        draft: "_Draft",
        scale: ValueScale,
        heads: list[list[float]],
        fitted: QuantityCalibration | None,
    ) -> None:
        if fitted is None or any(
            c.num_patients < self.limits.min_patients for c in fitted.intervals
        ):
            draft.withheld(_NOT_CALIBRATED)
            return
        q05, q25, estimate, q75, q95 = (
            sum(column) / len(heads) for column in zip(*heads, strict=True)
        )
        outer, inner = fitted.intervals
        floor = 0.0 if scale.knots[0] >= 0 else -float("inf")  # what is never negative stays so
        estimate = max(estimate, floor)
        low = max(min(q05 - outer.offset, estimate), floor)
        high = max(q95 + outer.offset, estimate)
        medians = [head[2] for head in heads]
        if high - low > self.limits.max_width_ratio * fitted.population_width:
            draft.withheld(_TOO_WIDE)
        elif max(medians) - min(medians) > self.limits.max_head_share * (high - low):
            draft.withheld(_DISAGREE)
        else:
            near = max(min(q25 - inner.offset, estimate), low)
            far = min(max(q75 + inner.offset, estimate), high)
            draft.estimate = estimate
            draft.intervals = (
                Interval(near, far, inner.level),
                Interval(low, high, outer.level),
            )
            draft.calibration_id = outer.calibration_id


@dataclass(slots=True)
class _Draft:
    """A readout while it is written."""

    name: str
    kind: ReadoutKind
    horizon: Horizon
    code: Code | None = None
    unit: str = ""
    estimate: float | None = None
    intervals: tuple[Interval, ...] = ()
    calibration_id: str = ""
    reliability: ReliabilityBin | None = None
    evidence: tuple[UUID, ...] = ()
    abstention: Abstention | None = None

    def withheld(self, abstention: Abstention) -> "_Draft":
        self.abstention = abstention
        return self

    def with_evidence(self, evidence: tuple[UUID, ...]) -> "_Draft":
        # What was withheld leans on nothing.
        self.evidence = () if self.abstention else evidence
        return self

    def finished(self) -> Readout:
        return Readout(
            name=self.name,
            kind=self.kind,
            horizon=self.horizon,
            code=self.code,
            unit=self.unit,
            estimate=self.estimate,
            intervals=self.intervals,
            calibration_id=self.calibration_id,
            reliability=self.reliability,
            evidence=self.evidence,
            abstention=self.abstention,
        )


def _draft_of(code: Code, unit: str, horizon: Horizon) -> _Draft:
    name = code.display or code.value
    return _Draft(name, ReadoutKind.QUANTITY, horizon, code=code, unit=unit)


def _bin_of(fitted: PlattCalibration, probability: float) -> ReliabilityBin | None:
    return min(
        fitted.reliability,
        key=lambda each: abs(each.mean_predicted - probability),
        default=None,
    )
