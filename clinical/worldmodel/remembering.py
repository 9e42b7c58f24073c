"""What is remembered of the events read so far: all that a later reading needs, and nothing more.

Knows the network's memory, the tally, the newest values, and what was counted. A block of events is
always read by itself, whatever follows it, so going on from what is remembered gives the bits of
reading the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from clinical.timeline.chain import Prefix
from clinical.timeline.event import EventKind, Standing
from clinical.timeline.timeline import Known
from clinical.worldmodel.batch import TimelineBatch
from clinical.worldmodel.jepa import Jepa, Remembered
from clinical.worldmodel.tally import Tally
from clinical.worldmodel.tensorize import Tensorizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was counted of the events."""

    num_unseen: int = 0  # events whose code has no token
    num_facts: int = 0  # events that are not the patient's own record
    is_deceased: bool = False

    def with_events(self, known: Sequence[Known], num_unseen: int) -> "Counts":
        """The counts after these events too."""
        events = [each.event for each in known]
        has_died = any(
            e.kind is EventKind.DEATH and e.standing is Standing.ASSERTED for e in events
        )
        return Counts(
            num_unseen=self.num_unseen + num_unseen,
            num_facts=self.num_facts + sum(e.kind is not EventKind.PATIENT for e in events),
            is_deceased=self.is_deceased or has_died,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """All that is kept of the events of `prefix`; its size does not depend on how many they were."""

    prefix: Prefix
    remembered: Remembered | None = None
    tally: Tally = field(default_factory=Tally)
    values: dict[int, tuple[UUID, ...]] = field(default_factory=dict)
    counts: Counts = Counts()


def after_block(
    model: Jepa,
    tensorizer: Tensorizer,
    past: Past,
    block: Sequence[Known],
    prefix: Prefix,
    device: str,
) -> Past:
    """What is remembered after one more block of events, read by itself."""
    batch, tally = tensorizer.known(block, past.tally)
    batch = batch.to(device)
    return Past(
        prefix=prefix,
        remembered=model.encode(batch, past.remembered).remembered,
        tally=tally,
        values=newest_values(batch, past.values),
        counts=past.counts.with_events(block, batch.num_unseen[0]),
    )


def newest_values(
    batch: TimelineBatch, earlier: dict[int, tuple[UUID, ...]], limit: int = 3
) -> dict[int, tuple[UUID, ...]]:
    """The newest events of each series, newest first, at most `limit` of each."""
    newest = dict(earlier)
    for series, place in zip(batch.value_series.tolist(), batch.value_event.tolist(), strict=True):
        newest[series] = (batch.events[place].event_id, *newest.get(series, ()))[:limit]
    return newest
