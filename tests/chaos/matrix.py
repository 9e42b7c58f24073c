"""All rows: which fault, how soon service must be full again, and what does not apply here."""

from tests.chaos import bad_input, conditions, freezes, kills, links, rollouts
from tests.chaos.scene import Row

_ALL = (
    Row(name="K1", title="web killed", strike=kills.web, bar_seconds=5),
    Row(name="K2", title="worker, or a child of it, killed", strike=kills.worker, bar_seconds=10),
    Row(name="K3", title="worker frozen for three leases", strike=freezes.worker),
    Row(name="K4", title="PostgreSQL killed", strike=kills.postgres, bar_seconds=15),
    Row(name="K5", title="connections cut, or all taken", strike=freezes.connections),
    Row(name="K6", title="RabbitMQ killed", strike=kills.broker, bar_seconds=30),
    Row(name="K7", title="RabbitMQ's data wiped", strike=kills.wiped_broker, bar_seconds=60),
    Row(
        name="K8",
        title="Redis flushed",
        strike=None,
        not_applicable="not applicable: no Redis in this service",
    ),
    Row(name="K9", title="worker cut off by a partition", strike=links.partition, bar_seconds=10),
    Row(name="K10", title="slow, silent, rude, stalled links", strike=links.moods, bar_seconds=30),
    Row(name="K11", title="disk of the database full", strike=conditions.disk_full, bar_seconds=30),
    Row(name="K12", title="worker's clock an hour off", strike=conditions.skewed_clock),
    Row(
        name="K13",
        title="model killed, NaN, another digest",
        strike=conditions.dishonest_model,
        bar_seconds=10,
    ),
    Row(name="K14", title="poison message", strike=freezes.poison, short_rounds=2),
    Row(
        name="K15",
        title="sent 1-5 times, shuffled, 1 % altered",
        strike=rollouts.again_and_again,
        rounds=1,
        per_second=0.5,
    ),
    Row(name="K16", title="deploy N, N+1, N under load", strike=rollouts.deploy, rounds=1),
    Row(
        name="K17", title="sequencer killed, two of them", strike=rollouts.sequencers, bar_seconds=5
    ),
    Row(
        name="K18",
        title="worker, PostgreSQL, RabbitMQ killed",
        strike=kills.everything,
        bar_seconds=60,
    ),
    Row(name="B1", title="same id, other body", strike=bad_input.other_body, rounds=1),
    Row(name="B2", title="clock an hour off", strike=bad_input.clock_off, rounds=1),
    Row(name="B3", title="signed, and no JSON", strike=bad_input.no_json, rounds=1),
    Row(name="B4", title="larger than allowed", strike=bad_input.too_large, rounds=1),
)
ROWS = {row.name: row for row in _ALL}
SHORT = ("K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K14", "B1", "B2", "B3", "B4")
