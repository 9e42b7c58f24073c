"""All rows: which fault, how soon service must be full again, and what does not apply here."""

from tests.chaos import kills
from tests.chaos.scene import Row

_ALL = (
    Row(name="K1", title="web killed", strike=kills.web, bar_seconds=5),
    Row(name="K2", title="worker, or a child of it, killed", strike=kills.worker, bar_seconds=10),
    Row(name="K4", title="PostgreSQL killed", strike=kills.postgres, bar_seconds=15),
    Row(name="K6", title="RabbitMQ killed", strike=kills.broker, bar_seconds=30),
    Row(name="K7", title="RabbitMQ's data wiped", strike=kills.wiped_broker, bar_seconds=60),
    Row(
        name="K18",
        title="worker, PostgreSQL, RabbitMQ killed",
        strike=kills.everything,
        bar_seconds=60,
    ),
)
ROWS = {row.name: row for row in _ALL}
SHORT = ("K1", "K2", "K4", "K6", "K7")
