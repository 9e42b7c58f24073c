"""Code ↔ token, and how the values of each code are to be read; fitted once, frozen, fingerprinted.

Knows every code that training met, its canonical unit, its deciles and the frozen conversions into
that unit, so that serving needs no unit library. Does not know tensors, nor how units are parsed:
whoever fits a vocabulary brings the conversions.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from clinical.errors import RejectedError
from clinical.timeline.code import Code
from clinical.timeline.quantity import Quantity

NUM_KNOTS = 11
_CLIP = 5.0


class MalformedVocabularyError(RejectedError):
    """The vocabulary file is not one that this version of the code wrote."""

    code = "worldmodel.malformed_vocabulary"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueScale:
    """How the values of one code are read.

    `knots` are the minimum, the deciles and the maximum of the training values in `unit`;
    `conversions` maps a UCUM unit to `(factor, offset)` so that `factor * x + offset` is in `unit`.
    `has_own_bins` says whether the code had enough values for decile vectors of its own.
    """

    unit: str
    knots: tuple[float, ...]
    mean: float
    sd: float
    num_values: int
    has_own_bins: bool
    conversions: dict[str, tuple[float, float]]

    def canonical(self, quantity: Quantity) -> float | None:
        """The value in the canonical unit, or None where it cannot be known.

        Rounded to nine significant digits, so that the same value sent in another unit is the same.
        """
        if not quantity.is_computable or quantity.unit not in self.conversions:
            return None
        factor, offset = self.conversions[quantity.unit]
        return float(f"{float(quantity.value) * factor + offset:.9g}")

    def position(self, value: float) -> float:
        """Where a canonical value lies between the knots, in `[0, 10]`, linear between them."""
        if value <= self.knots[0]:
            return 0.0
        for index, (low, high) in enumerate(pairwise(self.knots)):
            if value < high:
                return index + (value - low) / (high - low)
        return float(NUM_KNOTS - 1)

    def standardised(self, value: float) -> float:
        """Distance from the training mean in standard deviations, not clipped."""
        return (value - self.mean) / self.sd

    def clipped(self, value: float) -> float:
        """The standardised value, held within five standard deviations."""
        return min(max(self.standardised(value), -_CLIP), _CLIP)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeEntry:
    """One code that training met; its token is its place in the vocabulary, counted from 1."""

    system: str
    value: str
    display: str
    count: int
    scale: ValueScale | None = None

    @property
    def code(self) -> Code:
        """The code."""
        return Code(self.system, self.value, self.display)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Every token of a model; token 0 is a code that it never met.

    `numeric` are the keys whose values are followed and foretold, `actions` those of the
    interventions that the inverse-dynamics head tells apart.
    """

    entries: tuple[CodeEntry, ...]
    systems: tuple[str, ...]
    numeric: tuple[str, ...]
    actions: tuple[str, ...]
    num_buckets: int
    version: int = field(default=1)

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Token by `Code.key`; codes that are not here have token 0."""
        return {entry.code.key: token for token, entry in enumerate(self.entries, start=1)}

    @cached_property
    def scales(self) -> dict[str, ValueScale]:
        """How to read the values of each numeric code, by `Code.key`."""
        return {e.code.key: e.scale for e in self.entries if e.scale is not None}

    @cached_property
    def bin_rows(self) -> dict[str, int]:
        """Row of a code's own decile vectors, counted from 1; codes without any share row 0."""
        own = [key for key, scale in self.scales.items() if scale.has_own_bins]
        return {key: row for row, key in enumerate(own, start=1)}

    @cached_property
    def system_ids(self) -> dict[str, int]:
        """Number of a code system, counted from 1; 0 is one that training never met."""
        return {system: number for number, system in enumerate(self.systems, start=1)}

    @cached_property
    def numeric_codes(self) -> tuple[Code, ...]:
        """The codes whose values are foretold, in the order of the model's outputs."""
        return tuple(self.entries[self.tokens[key] - 1].code for key in self.numeric)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the canonical JSON: equal fingerprints, equal tokens."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: sorted names, no spaces, every digit of every number."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """The vocabulary that `to_json` wrote.

        Raises:
            MalformedVocabularyError: the text is something else.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            values["entries"] = tuple(_entry(entry) for entry in values["entries"])
            for name in ("systems", "numeric", "actions"):
                values[name] = tuple(values[name])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise MalformedVocabularyError("the text is not a vocabulary") from error


def _entry(values: dict[str, Any]) -> CodeEntry:
    scale = values.pop("scale")
    if scale is not None:
        scale["knots"] = tuple(scale["knots"])
        scale["conversions"] = {k: (v[0], v[1]) for k, v in scale["conversions"].items()}
        scale = ValueScale(**scale)
    return CodeEntry(scale=scale, **values)
