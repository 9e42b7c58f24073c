"""The world model: encode a timeline, append to it, forecast from it, and cost a plan.

Joins the parts of this room. Does not know the loss, calibration, or when to decline.
"""

import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clinical.worldmodel.batch import (
    TimelineBatch,
    gaps,
    kept_events,
    kept_series,
    padded,
    running_at,
)
from clinical.worldmodel.config import ModelConfig, Target, Teacher
from clinical.worldmodel.costing import Goals, energy
from clinical.worldmodel.deciles import Deciles
from clinical.worldmodel.direct import DirectReadout
from clinical.worldmodel.embedding import EventEmbedding
from clinical.worldmodel.encoder import NUM_AGE_FEATURES, BundleEncoder, age_features
from clinical.worldmodel.families import FAMILIES, FORETOLD
from clinical.worldmodel.hazards import HazardReadout, Hazards
from clinical.worldmodel.means import Means
from clinical.worldmodel.memory import CHUNK, Memory
from clinical.worldmodel.objective import Projector
from clinical.worldmodel.predictor import Plan, Predictor
from clinical.worldmodel.randomness import Dropout
from clinical.worldmodel.readout import RawReadouts, Readouts
from clinical.worldmodel.statistics import NUM_FEATURES, features
from clinical.worldmodel.targets import WindowEncoder
from clinical.worldmodel.teacher import HorizonErrors, SlowCopy
from clinical.worldmodel.transition import Transition
from clinical.worldmodel.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Remembered:
    """All that the network keeps of a timeline: `[J, D]` and `[D]` floats, however long it is."""

    memory: Float[Tensor, "B J D"]
    static: Float[Tensor, "B D"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The memory before the first bundle (place 0) and after each one."""

    memories: Float[Tensor, "B T1 J D"]
    days: Float[Tensor, "B T1"]  # of the bundles; -inf at place 0, +inf where padded
    static: Float[Tensor, "B D"]
    events: Float[Tensor, "N D"]
    is_kept: Bool[Tensor, " N"]

    def place(self, row: Int[Tensor, " Q"], day: Float[Tensor, " Q"]) -> Int[Tensor, " Q"]:
        """How many bundles of timeline `row` were known on `day`."""
        found = torch.searchsorted(self.days[row], day[:, None].contiguous(), right=True)
        return found.squeeze(1) - 1

    @property
    def remembered(self) -> Remembered:
        """What to carry on from after the last bundle."""
        lengths = torch.isfinite(self.days).sum(1)
        rows = torch.arange(len(lengths), device=lengths.device)
        return Remembered(self.memories[rows, lengths], self.static)


@dataclass(frozen=True, slots=True)
class Reading:
    """The patient at the moment of a question."""

    state: Float[Tensor, "Q D"]
    features: Float[Tensor, "Q S F"]


class Jepa(nn.Module):
    """A temporal joint-embedding predictive architecture over bundles of clinical events."""

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        width = config.width
        self.config = config
        num_series = len(vocabulary.numeric) + len(FAMILIES)
        self.embedding = EventEmbedding(config, vocabulary)
        self.bundles = BundleEncoder(config)
        self.memory = Memory(config)
        self.from_memory = nn.Linear(config.num_layers * width, width)
        self.from_features = nn.Linear(num_series * NUM_FEATURES, width, bias=False)
        self.from_static = nn.Linear(width, width, bias=False)
        self.from_age = nn.Linear(NUM_AGE_FEATURES, width, bias=False)
        self.state = nn.Sequential(nn.SiLU(), Dropout(config.dropout), nn.Linear(width, width))
        self.windows = WindowEncoder(config)
        self.predictor = Predictor(config)
        self.readouts = Readouts(config, len(vocabulary.numeric))
        self.hazard_readout = HazardReadout(config) if config.has_hazards else None
        self.transition = Transition(config) if config.can_compose else None
        self.projector = Projector(config)
        self.inverse = nn.Sequential(
            nn.Linear(width + config.latent, width),
            nn.SiLU(),
            nn.Linear(width, max(1, len(vocabulary.actions))),
        )
        is_compared = config.target is not Target.WINDOW
        self.ending = nn.Linear(width, config.latent) if is_compared else None
        self.to_ending = (
            nn.Linear(config.latent, config.latent) if config.target is Target.BOTH else None
        )
        self.horizon_errors: HorizonErrors | None = (
            HorizonErrors(len(config.windows_days)) if config.weighs_horizons else None
        )
        self.means = Means(config, vocabulary) if config.means_of else None
        self.direct = (
            DirectReadout(config, len(vocabulary.numeric)) if config.grounds_latents else None
        )
        self.deciles = Deciles(vocabulary) if config.ranks_values else None
        # Last, so that the copy is of all that stands above.
        self.teacher: SlowCopy | None = None
        if config.teacher is Teacher.EMA:
            self.teacher = SlowCopy(self)

    def served(self) -> "Jepa":
        """This model without what is of use only while it trains: the slow copy and running errors."""
        if self.teacher is None and self.horizon_errors is None:
            return self
        bare = copy.deepcopy(self)
        bare.teacher = bare.horizon_errors = None
        bare.config = replace(self.config, teacher=Teacher.ONLINE, weighs_horizons=False)
        return bare

    def encode(
        self,
        batch: TimelineBatch,
        before: Remembered | None = None,
        *,
        is_kept: Bool[Tensor, " N"] | None = None,
        is_exact: Bool[Tensor, " N"] | None = None,
        event_weights: Float[Tensor, " N"] | None = None,
        chunk: int = CHUNK,
    ) -> Encoded:
        """The memory after every bundle of every timeline, in one parallel pass.

        `before` continues from what was remembered earlier. `is_kept` False hides an event from the
        context, `is_exact` False its exact code; `event_weights` (ones) are there to be differentiated.
        """
        events = self.embedding(batch, is_exact)
        seen = events if event_weights is None else events * event_weights[:, None]
        if is_kept is None:
            is_kept = torch.ones(len(events), dtype=torch.bool, device=events.device)
        gap = gaps(batch) / self.config.clock_days
        chosen = kept_events(batch, is_kept)
        vectors = self.bundles(batch, seen, chosen, gap)
        if before is None:
            static = events.new_zeros(batch.num_timelines, events.shape[1])
            before = Remembered(self.memory.initial(batch.num_timelines), static)
        memories = self.memory(
            padded(batch, vectors, 0.0),
            padded(batch, gap, 0.0),
            before.memory,
            chunk,
            padded(batch, torch.ones_like(gap, dtype=torch.bool), filler=False),
        )
        memories = torch.cat([before.memory[:, None], memories], dim=1)
        days = padded(batch, batch.bundle_day, torch.inf)
        days = torch.cat([days.new_full((len(days), 1), -torch.inf), days], dim=1)
        static = before.static.index_add(0, batch.static_row, events[batch.static_event])
        return Encoded(memories, days, static, events, is_kept)

    def append(self, before: Remembered, bundle: TimelineBatch) -> Remembered:
        """What is remembered after one more bundle: one step, whatever came before."""
        events = self.embedding(bundle)
        gap = gaps(bundle) / self.config.clock_days
        chosen = kept_events(bundle, torch.ones_like(bundle.event_bundle, dtype=torch.bool))
        memory = before.memory
        if len(gap):
            memory = self.memory.step(self.bundles(bundle, events, chosen, gap), gap, memory)
        static = before.static.index_add(0, bundle.static_row, events[bundle.static_event])
        return Remembered(memory, static)

    def read(
        self,
        batch: TimelineBatch,
        encoded: Encoded,
        row: Int[Tensor, " Q"],
        day: Float[Tensor, " Q"],
    ) -> Reading:
        """The patient of timeline `row` on `day`: what was known by then, faded to that moment."""
        return self.read_with(batch, encoded, row, day, self.series_at(batch, encoded, row, day))

    def series_at(
        self,
        batch: TimelineBatch,
        encoded: Encoded,
        row: Int[Tensor, " Q"],
        day: Float[Tensor, " Q"],
    ) -> Float[Tensor, "Q S F"]:
        """The running statistics of every series as they look on `day`."""
        running = running_at(batch, row, encoded.place(row, day))
        return features(
            running, day / self.config.clock_days, kept_series(batch, encoded.is_kept)[row]
        )

    def seen(self, series: Float[Tensor, "Q S F"]) -> Float[Tensor, "Q S F"]:
        """The running statistics as the state sees them."""
        if self.deciles is None:
            return series
        ranked: Tensor = self.deciles(series)
        return ranked

    def read_with(
        self,
        batch: TimelineBatch,
        encoded: Encoded,
        row: Int[Tensor, " Q"],
        day: Float[Tensor, " Q"],
        series: Float[Tensor, "Q S F"],
    ) -> Reading:
        """As `read`, with the statistics that `series_at` gave."""
        place = encoded.place(row, day)
        last = encoded.days[row, place]
        last = torch.where(place > 0, last, batch.previous_day[row])
        # Before the first bundle of all there is nothing that could have faded.
        gap = torch.nan_to_num(day - last, nan=0.0).clamp(min=0.0).float() / self.config.clock_days
        faded = self.memory.faded(encoded.memories[row, place], gap)
        total = (
            self.from_memory(faded.flatten(1))
            + self.from_features(self.seen(series).flatten(1))
            + self.from_static(encoded.static[row])
            + self.from_age(age_features(day, batch.birth_day[row]))
        )
        return Reading(self.state(total), series)

    def forecast(
        self, reading: Reading, bounds: Float[Tensor, "Q H 2"], plan: Plan | None = None
    ) -> tuple[Float[Tensor, "Q H K L"], RawReadouts]:
        """The latents of every window (days after the question) and what is read from them."""
        plan = plan or Plan.usual_care(reading.state)
        tokens, hazards = self._foreseen(reading, bounds, plan)
        latents = self.predictor.latents(tokens)
        raw = self.readouts(latents, reading.state, reading.features, bounds, hazards)
        if self.config.has_variance:
            raw = replace(raw, variance=self.predictor.variances(tokens).mean(-1))
        return latents, raw

    def hazards(self, reading: Reading, plan: Plan) -> Hazards | None:
        """The hazards of the first happenings; None where the model reads intensities instead.

        A bin sees the actions planned until it starts: no window that ends within or after it looks
        further than its own end.
        """
        if self.hazard_readout is None:
            return None
        return self._foreseen(reading, reading.state.new_zeros(len(reading.state), 0, 2), plan)[1]

    def _foreseen(
        self, reading: Reading, bounds: Float[Tensor, "Q H 2"], plan: Plan
    ) -> tuple[Float[Tensor, "Q H w"], Hazards | None]:
        """The tokens of the windows and the hazards, in one pass; neither sees the other."""
        state, num = reading.state, bounds.shape[1]
        if self.hazard_readout is None:
            return self.predictor.tokens(state, bounds, plan), None
        bins = torch.tensor(self.hazard_readout.bins, dtype=torch.float32, device=state.device)
        bins = bins.expand(len(state), -1, -1)
        acted_until = torch.cat(
            [bounds[..., 1], torch.nextafter(bins[..., 0], bins[..., 1])], dim=1
        )
        tokens = self.predictor.tokens(state, torch.cat([bounds, bins], dim=1), plan, acted_until)
        first = self.readouts.num_numeric
        families = reading.features[:, first : first + len(FORETOLD)]
        latents = self.predictor.latents(tokens[:, num:])
        return tokens[:, :num], self.hazard_readout(latents, state, families)

    def cost(
        self,
        reading: Reading,
        bounds: Float[Tensor, "1 H 2"],
        plans: Plan,
        goals: Goals,
        surprise: Float[Tensor, " n"] | None = None,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n parts"]]:
        """The energy of each of `n` plans for the one patient of `reading`, and its parts."""
        num = len(plans.is_given)
        same = Reading(reading.state.expand(num, -1), reading.features.expand(num, -1, -1))
        latents, raw = self.forecast(same, bounds.expand(num, -1, -1), plans)
        return energy(latents, raw, plans, goals, surprise)
