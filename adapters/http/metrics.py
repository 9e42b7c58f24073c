"""Counts for Prometheus, with a registry for each app and no patient data in any label."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily

from adapters.operations.figures import OperatingFigures
from adapters.operations.metrics import OperatingCollector, exposition
from adapters.telemetry import DROPPED_FIELDS
from clinical.errors import ClinicalError

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


class WebMetrics:
    """The measures of one web process."""

    def __init__(
        self,
        census: Callable[[], Mapping[str, int]],
        figures: Callable[[], OperatingFigures],
        others: CollectorRegistry,
    ) -> None:
        """`census` and `figures` are asked at every scrape; `others` holds what is measured elsewhere."""
        self.registry = CollectorRegistry()
        self._others = others
        self._seconds = Histogram(
            "clinical_http_request_seconds",
            "Time to answer, by route template.",
            ["route", "method", "status"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._deliveries = Counter(
            "clinical_deliveries_total",
            "Deliveries that were stored or known already, by door.",
            ["door", "status"],
            registry=self.registry,
        )
        self._cards = Counter(
            "clinical_cds_answers_total",
            "Answered calls of CDS Hooks, by hook and what was shown.",
            ["hook", "outcome"],
            registry=self.registry,
        )
        self._prefetch = Counter(
            "clinical_cds_prefetch_total",
            "What clients brought of what CDS Hooks services ask for.",
            ["fetched"],
            registry=self.registry,
        )
        self.registry.register(DROPPED_FIELDS)
        ProcessCollector(registry=self.registry)
        self.registry.register(_Census(census))
        self.registry.register(OperatingCollector(figures))

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._seconds.labels(route, known(method), str(status)).observe(seconds)

    def delivered(self, door: str, *, is_new: bool) -> None:
        """Count a delivery that was taken in."""
        self._deliveries.labels(door, "new" if is_new else "duplicate").inc()

    def carded(self, hook: str, outcome: str) -> None:
        """Count an answered call of a hook."""
        self._cards.labels(hook, outcome).inc()

    def prefetched(self, fetched: str) -> None:
        """Count one prefetch value that a service asks for."""
        self._prefetch.labels(fetched).inc()

    def exposition(self) -> tuple[bytes, str]:
        """The text that Prometheus reads, and its media type."""
        text, media_type = exposition(self.registry)
        return text + exposition(self._others)[0], media_type


def known(method: str) -> str:
    """The method of a request, or `other`: a client may send any word."""
    return method if method in _METHODS else "other"


class _Census:
    def __init__(self, census: Callable[[], Mapping[str, int]]) -> None:
        self._census = census

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """How much is stored, by name."""
        family = GaugeMetricFamily("clinical_stored", "How many are stored.", labels=["what"])
        try:
            counts = self._census()
        except ClinicalError:  # told by `clinical_database_up`; the counters are told all the same
            return
        for name, count in counts.items():
            family.add_metric([name], count)
        yield family

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing is asked of the database when the registry is built."""
        yield GaugeMetricFamily("clinical_stored", "How many are stored.", labels=["what"])
