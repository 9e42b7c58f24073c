"""One row of the table: load, a fault in each round, the time until full service, and the verdict."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import httpx

from clinical.audit.proof import is_consistent
from clinical.audit.tree import TreeHead
from clinical.services.audit import AuditService
from clinical.timeline.patient import PatientRef
from tests.chaos import truth
from tests.chaos.checker import Head, Violation, Wrong, ledger
from tests.chaos.history import Outcome
from tests.chaos.load import Load, Sender, parcel
from tests.chaos.stage import SITE, Stage

_RECOVERY_SECONDS = 120.0
_SETTLE_SECONDS = 90.0
_TWICE = frozenset({Wrong.DUPLICATE, Wrong.LOST_UPDATE, Wrong.TWO_HOLDERS, Wrong.SKIPPED_VERSION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A fault: what it is called, how a round of it goes, and how soon service must be full again."""

    name: str
    title: str
    strike: Callable[["Scene", int], None] | None
    bar_seconds: float | None = None
    not_applicable: str = ""
    rounds: int | None = None  # where it takes no other number
    short_rounds: int | None = None  # at most so many in the short form
    per_second: float = 2.0


@dataclass(slots=True, kw_only=True)
class Result:
    """A line of the table."""

    row: str
    title: str
    seed: int
    rounds: int = 0
    offered: int = 0
    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    audit_gaps: int = 0
    recoveries: list[float] = field(default_factory=list)
    bar_seconds: float | None = None
    seen: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)  # invariants that did not hold
    not_applicable: str = ""
    seconds: float = 0.0

    @property
    def p50(self) -> float | None:
        return median(self.recoveries) if self.recoveries else None

    @property
    def longest(self) -> float | None:
        return max(self.recoveries, default=None)

    @property
    def is_late(self) -> bool:
        """Whether a recovery took longer than its bar: the machine has a part in that."""
        return self.bar_seconds is not None and (self.longest or 0) > self.bar_seconds

    @property
    def is_kept(self) -> bool:
        """Whether every promise was kept, however long it took."""
        return not self.missed

    @property
    def is_met(self) -> bool:
        return self.is_kept and not self.is_late

    @property
    def faults(self) -> list[str]:
        """What did not hold, in words."""
        late = f"recovery {self.longest or 0:.1f} s, bar {self.bar_seconds or 0:.0f} s"
        return [*self.missed, *([late] if self.is_late else [])]


class Scene:
    """What a fault may use: the site, its load, a seeded chance, and words for what was seen."""

    def __init__(self, stage: Stage, row: Row, seed: int, say: Callable[[str], None]) -> None:
        self.stage = stage
        self.row = row
        self.seed = seed
        self.say = say
        self.tag = f"{row.name.lower()}x{seed}"
        self.chance = random.Random(f"{row.name}|{seed}")
        self.load = Load(stage.web_url, self.tag, seed, per_second=row.per_second)
        self.result = Result(row=row.name, title=row.title, seed=seed, bar_seconds=row.bar_seconds)
        self._slowest: dict[str, float] = {}
        self._probes = 0
        self._counts: dict[str, int] = {}

    def see(self, words: str) -> None:
        """Add to what the table says was seen."""
        if words not in self.result.seen:
            self.result.seen.append(words)

    def counted(self, words: str, count: int) -> None:
        """Add up over the rounds; the table says the sum."""
        self._counts[words] = self._counts.get(words, 0) + count

    def slowest(self, what: str, seconds: float) -> None:
        """Remember how long a process took to start; the table says the longest."""
        self._slowest[what] = max(seconds, self._slowest.get(what, 0))

    def require(self, is_so: object, words: str) -> None:
        """An invariant of this row, beside those of all rows."""
        if not is_so and words not in self.result.missed:
            self.result.missed.append(words)

    def work(self, least: float = 0.5, most: float = 1.5) -> None:
        """Let the load run for a moment that the seed chooses."""
        time.sleep(self.chance.uniform(least, most))

    def recover(self, since: float) -> float:
        """As `probe`, and it counts as the recovery from a fault that began at `since`."""
        seconds = self.probe(since)
        self.result.recoveries.append(round(seconds, 2))
        self.say(f"{self.row.name}: full service after {seconds:.1f} s")
        return seconds

    def probe(self, since: float) -> float:
        """Seconds since `since` until a new delivery is accepted and its prediction stored."""
        self._probes += 1
        what = parcel(f"{self.tag}-probe{self._probes}", 0, self.chance)
        deadline = since + _RECOVERY_SECONDS
        sender = Sender(self.stage.web_url, self.load.history, "probe")
        sent = sender.send(
            what, patience=_RECOVERY_SECONDS, stop=lambda: time.monotonic() > deadline
        )
        sender.close()
        is_back = sent.outcome is Outcome.OK and self._is_predicted(what.record_id, deadline)
        seconds = time.monotonic() - since
        self.require(is_back, f"no full service within {_RECOVERY_SECONDS:.0f} s")
        return seconds

    def _is_predicted(self, record_id: str, deadline: float) -> bool:
        patient_id = PatientRef(SITE, record_id).patient_id
        with self.stage.postgres.connect() as connection:
            while time.monotonic() < deadline:
                if self.rows(
                    "SELECT 1 FROM predictions WHERE patient_id = %s", patient_id, on=connection
                ):
                    return True
                time.sleep(0.05)
        return False

    def rows(self, query: str, *values: Any, on: Any = None) -> list[Any]:
        """What the database answers, past everything that stands between."""
        if on is not None:
            return list(on.execute(query.encode(), values))
        with self.stage.postgres.connect() as connection:
            return list(connection.execute(query.encode(), values))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Load from here to there; afterwards everything owed is waited for."""
        self.load.start()
        try:
            yield
        finally:
            self.load.stop()
        self.settle()

    def settle(self, seconds: float = _SETTLE_SECONDS) -> None:
        """Wait until nothing is owed and every audit entry has its leaf under a signed head."""
        deadline = time.monotonic() + seconds
        owed: Any = None
        while time.monotonic() < deadline:
            (owed,) = self.rows(
                "SELECT (SELECT count(*) FROM messages WHERE state IN ('waiting', 'started')),"
                " (SELECT count(*) FROM audit_pending)"
            )
            if owed == (0, 0):
                return
            time.sleep(0.2)
        self.require(False, f"owed after {seconds:.0f} s: {owed[0]} messages, {owed[1]} leaves")

    def judge(self) -> Result:
        """Compare histories with what is stored; fill the line of the table."""
        result, load = self.result, self.load
        delivered, moved = load.history.of("deliver"), load.history.of("review")
        with self.stage.postgres.connect() as connection:
            found = truth.read(connection, self.tag, delivered, moved)
        violations = found.violations + self._ledger() + self._stale()
        outcomes: dict[str, set[Outcome]] = {}
        for each in delivered:
            outcomes.setdefault(each.key, set()).add(each.outcome)
        result.offered = len(outcomes)
        result.accepted = sum(Outcome.OK in each for each in outcomes.values())
        result.refused = sum(each == {Outcome.FAIL} for each in outcomes.values())
        result.unknown = result.offered - result.accepted - result.refused
        result.stored = len(found.deliveries)
        result.lost = sum(each.wrong is Wrong.LOST for each in violations)
        result.twice = sum(each.wrong in _TWICE for each in violations)
        result.audit_gaps = sum(each.wrong is Wrong.AUDIT_GAP for each in violations)
        for each in violations:
            self.require(False, f"{each.wrong}: {each.words} ({each.key[:36]})")
        self._told_once()
        result.seen += [f"{count} {words}" for words, count in self._counts.items()]
        for what, seconds in self._slowest.items():
            self.see(f"{what} took up to {seconds:.1f} s to start")
        again = sum(
            bool(each.told.get("codes")) and each.outcome is Outcome.OK for each in delivered
        )
        if again:
            self.see(f"{again} deliveries got their one receipt only when sent again")
        self._say_reviews(moved)
        return result

    def _told_once(self) -> None:
        """The EHR holds one assessment for each write-back that is done, of all rows so far."""
        (done,) = self.rows(
            "SELECT count(DISTINCT refs->>'review') FROM audit_entries"
            " WHERE kind = 'writeback.done.v1'"
        )[0]
        told = len(self.stage.ehr.resources("RiskAssessment"))
        self.require(told == done, f"{done} write-backs are done, and the EHR holds {told}")
        self.see(f"{done} write-backs so far, each once at the EHR")

    def _say_reviews(self, moved: list[Any]) -> None:
        done = sum(each.outcome is Outcome.OK for each in moved)
        unknown = sum(each.outcome is Outcome.UNKNOWN for each in moved)
        signed = sum(each.outcome is Outcome.OK and each.asked["move"] == "sign" for each in moved)
        if moved:
            self.see(f"{done} review moves, {signed} signed, {unknown} unknown")

    def _stale(self) -> list[Violation]:
        ids = [
            row[0]
            for row in self.rows(
                "SELECT patient_id FROM patients WHERE record_id LIKE %s", f"{self.tag}-%"
            )
        ]
        return truth.stale(self.stage.open_unit_of_work, ids)

    def _ledger(self) -> list[Violation]:
        """The tree hashes right, and every head that was ever shown continues the one before."""
        audit = AuditService(open_unit_of_work=self.stage.open_unit_of_work, clock=self.stage.clock)
        report = audit.verify()
        found = []
        if not report.is_sound:
            words = f"the tree parts from the log at {report.first_bad_index}"
            found.append(Violation(Wrong.FORKED, str(report.first_bad_index), words))
        if report.num_unsequenced:
            words = f"{report.num_unsequenced} entries without a leaf"
            found.append(Violation(Wrong.AUDIT_GAP, "log", words))
        with httpx.Client(base_url=self.stage.web_url, timeout=10, trust_env=False) as client:
            self.load.see_the_ledger(client)
            return found + ledger(self.load.heads, lambda old, new: _is_grown(client, old, new))


def _is_grown(client: httpx.Client, old: Head, new: Head) -> bool:
    import base64

    answer = client.get("/v1/ledger/growth", params={"old": old.size, "size": new.size})
    if answer.status_code != 200:
        return False
    path = [bytes.fromhex(each) for each in answer.json()["path"]]
    heads = [TreeHead(each.size, base64.b64decode(each.root)) for each in (old, new)]
    return is_consistent(heads[0], heads[1], path)


def play(stage: Stage, row: Row, rounds: int, seed: int, say: Callable[[str], None]) -> Result:
    """Run a row of the table."""
    began = time.monotonic()
    if row.strike is None:
        return Result(row=row.name, title=row.title, seed=seed, not_applicable=row.not_applicable)
    scene = Scene(stage, row, seed, say)
    rounds = row.rounds or rounds
    scene.result.rounds = rounds
    try:
        with scene.at_work():
            for number in range(rounds):
                scene.work()
                say(f"{row.name}: round {number + 1} of {rounds}: {row.title}")
                row.strike(scene, number)
        scene.judge()
        if "worker-2" in stage.running:
            stage.stop("worker-2")
    except Exception as error:  # noqa: BLE001 - a row that breaks is a line of the table, not the end
        scene.require(False, f"the row broke: {type(error).__name__}: {str(error)[:200]}")
        stage.repair()
    scene.result.seconds = round(time.monotonic() - began, 1)
    return scene.result
