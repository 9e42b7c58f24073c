"""Measures for Prometheus that more than one process has, and those of the worker.

Knows names, labels and buckets; every label has few values, and none is of a patient. Does not know
how the figures are read, nor who scrapes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from adapters.operations.figures import OperatingFigures, Waiting
from adapters.telemetry import DROPPED_FIELDS

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_DELAY_SECONDS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)

# Counted where leases are taken over, which only the process of the relay does.
EXPIRED_LEASES = Counter(
    "clinical_leases_expired",
    "Messages claimed again because the lease of whoever worked on them had run out.",
    registry=None,
)


class WatchesModel(Protocol):
    """Is told of every question to the model process."""

    def asked(self, question: str, outcome: str, seconds: float) -> None:
        """A question was answered, or not: the outcome is `answered` or the code of an error."""
        ...

    def answered(self, abstention: str) -> None:
        """A forecast came: the reason why it says nothing, or empty."""
        ...


class WatchesWork(WatchesModel, Protocol):
    """Is told of every attempt at a message too."""

    def began(self, message_id: str) -> None:
        """An attempt was counted."""
        ...

    def attempted(self, message_id: str, kind: str, outcome: str, seconds: float) -> None:
        """The attempt ended."""
        ...


class Unwatched:
    """Nobody wants to know."""

    def asked(self, question: str, outcome: str, seconds: float) -> None: ...

    def answered(self, abstention: str) -> None: ...

    def began(self, message_id: str) -> None: ...

    def attempted(self, message_id: str, kind: str, outcome: str, seconds: float) -> None: ...


class ModelMetrics:
    """Questions to the model process, as the process that asks sees them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registered at once."""
        self._seconds = Histogram(
            "clinical_model_question_seconds",
            "Time until the model process answered, by question and outcome.",
            ["question", "outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._forecasts = Counter(
            "clinical_forecasts",
            "Forecasts that came, by the reason why they say nothing, or `none`.",
            ["abstention"],
            registry=registry,
        )

    def asked(self, question: str, outcome: str, seconds: float) -> None:
        """Count a question."""
        self._seconds.labels(question, outcome).observe(seconds)

    def answered(self, abstention: str) -> None:
        """Count a forecast."""
        self._forecasts.labels(abstention or "none").inc()


class WorkerMetrics(ModelMetrics):
    """The measures of one worker, kept by its main process."""

    def __init__(self) -> None:
        """With a registry of its own."""
        self.registry = CollectorRegistry()
        super().__init__(self.registry)
        self._attempts = Counter(
            "clinical_message_attempts",
            "Attempts at messages, by kind and how they ended.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self._attempt_seconds = Histogram(
            "clinical_message_attempt_seconds",
            "Length of attempts at messages, by kind.",
            ["kind"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._published = Counter(
            "clinical_outbox_published",
            "Ids of messages that were handed to the broker.",
            registry=self.registry,
        )
        self._merge_delay = Histogram(
            "clinical_ledger_merge_delay_seconds",
            "Time from an audit entry to a signed head over it.",
            buckets=_DELAY_SECONDS,
            registry=self.registry,
        )
        self.lost_tallies = Counter(
            "clinical_lost_tallies",
            "Counts that a child process could not hand over.",
            registry=self.registry,
        )
        for shared in (DROPPED_FIELDS, EXPIRED_LEASES):
            self.registry.register(shared)
        ProcessCollector(registry=self.registry)
        # Whoever works on what now: told by the children, and needed when one of them must stop.
        self.running: set[str] = set()

    def began(self, message_id: str) -> None:
        """Remember that it is being worked on."""
        self.running.add(message_id)

    def attempted(self, message_id: str, kind: str, outcome: str, seconds: float) -> None:
        """Count an attempt."""
        self.running.discard(message_id)
        self._attempts.labels(kind, outcome).inc()
        self._attempt_seconds.labels(kind).observe(seconds)

    def published(self, count: int) -> None:
        """Count ids handed to the broker."""
        self._published.inc(count)

    def merged(self, delays: Iterable[float]) -> None:
        """Count entries that came under a signed head."""
        for seconds in delays:
            self._merge_delay.observe(seconds)


def exposition(registry: CollectorRegistry) -> tuple[bytes, str]:
    """The text that Prometheus reads, and its media type."""
    return generate_latest(registry), CONTENT_TYPE_LATEST


class OperatingCollector:
    """What waits and who is at work, read from the database at every scrape."""

    def __init__(self, figures: Callable[[], OperatingFigures]) -> None:
        """`figures` is asked at every scrape; where it raises, the scrape goes on without them."""
        self._figures = figures

    def describe(self) -> Sequence[GaugeMetricFamily]:
        """Nothing is asked of the database when the registry is built."""
        return list(_families(OperatingFigures()))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures of now."""
        try:
            figures = self._figures()
        except Exception:  # noqa: BLE001 - a database that is away must not silence the counters
            up = GaugeMetricFamily("clinical_database_up", _DATABASE_UP)
            up.add_metric([], 0)
            yield up
            return
        yield from _families(figures)


_DATABASE_UP = "Whether the database answered this scrape."


def _families(figures: OperatingFigures) -> Iterator[GaugeMetricFamily]:
    up = GaugeMetricFamily("clinical_database_up", _DATABASE_UP)
    up.add_metric([], 1)
    yield up
    yield _numbers("clinical_outbox_messages", "Messages owed.", figures.owed)
    yield _ages("clinical_outbox_oldest_seconds", "Age of the oldest message owed.", figures.owed)
    given_up = GaugeMetricFamily(
        "clinical_messages_given_up", "Messages that nobody tries any more.", labels=["kind"]
    )
    for kind, number in figures.given_up:
        given_up.add_metric([kind], number)
    yield given_up
    dead = GaugeMetricFamily(
        "clinical_dead_letters", "Messages that the broker would not deliver any more."
    )
    dead.add_metric([], figures.num_dead_letters)
    yield dead
    yield _numbers(
        "clinical_open_reviews", "Reviews that wait for a decision.", figures.open_reviews
    )
    yield _ages(
        "clinical_open_reviews_oldest_seconds", "Age of the oldest such.", figures.open_reviews
    )
    yield from _workers(figures)


def _workers(figures: OperatingFigures) -> Iterator[GaugeMetricFamily]:
    heard = GaugeMetricFamily(
        "clinical_worker_heard_seconds", "Time since any worker was heard of."
    )
    reached = GaugeMetricFamily(
        "clinical_broker_up",
        "Whether the relay of a worker that was heard last reaches its broker.",
    )
    unsequenced = GaugeMetricFamily(
        "clinical_ledger_unsequenced_entries", "Audit entries without a leaf, as workers saw it."
    )
    oldest = GaugeMetricFamily(
        "clinical_ledger_oldest_unsequenced_seconds",
        "Age of the oldest audit entry without a leaf.",
    )
    for latest in figures.heartbeats[:1]:
        heard.add_metric([], latest.seconds_ago)
        reached.add_metric([], float(not latest.relay_trouble))
        unsequenced.add_metric([], latest.num_unsequenced)
        oldest.add_metric([], latest.oldest_unsequenced_seconds)
    yield from (heard, reached, unsequenced, oldest)


def _numbers(name: str, meaning: str, waiting: Sequence[Waiting]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=["kind", "state"])
    for each in waiting:
        family.add_metric([each.kind, each.state], each.num)
    return family


def _ages(name: str, meaning: str, waiting: Sequence[Waiting]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning)
    family.add_metric([], max((each.oldest_seconds for each in waiting), default=0.0))
    return family
