"""The judge: pure functions from what clients were told, and what was kept, to what is wrong.

The inbox is a grow-only set, a lease is a mutex over an interval, a review is a register that is
compared and set by version, the ledger only ever grows, and an effect happens once. An operation
with an unknown outcome may or may not have happened: it is never counted as failed or as done.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from tests.chaos.history import Operation, Outcome


class Wrong(StrEnum):
    """What can be wrong."""

    LOST = "lost"
    DUPLICATE = "duplicate"
    INVENTED = "invented"  # kept, though it was refused or never offered
    CHANGED_ANSWER = "changed answer"  # the same request, told two different things
    TWO_HOLDERS = "two holders"
    FENCE_FELL = "fence fell"
    LOST_UPDATE = "lost update"
    SKIPPED_VERSION = "skipped version"
    FORKED = "forked"
    AUDIT_GAP = "audit gap"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong, with which, in words."""

    wrong: Wrong
    key: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Somebody held `key` from `start` until `end`, under a fencing number."""

    key: str
    who: str
    fence: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Head:
    """A ledger as somebody saw it once."""

    size: int
    root: str


def inbox(adds: Sequence[Operation], kept: Mapping[str, int]) -> list[Violation]:
    """A grow-only set: what was accepted is kept once, what was refused is not, all get one receipt."""
    found = []
    by_key = _by_key(adds)
    for key, tries in by_key.items():
        outcomes = {each.outcome for each in tries}
        if Outcome.OK in outcomes and not kept.get(key):
            found.append(Violation(Wrong.LOST, key, "accepted, and not kept"))
        if outcomes == {Outcome.FAIL} and kept.get(key):
            found.append(Violation(Wrong.INVENTED, key, "refused each time, and kept"))
        receipts = {receipt for each in tries for receipt in each.told.get("receipts", ())}
        if len(receipts) > 1:
            found.append(Violation(Wrong.CHANGED_ANSWER, key, "two receipts for one id"))
    found += [
        Violation(Wrong.DUPLICATE, key, f"kept {count} times")
        for key, count in kept.items()
        if count > 1
    ]
    return found + [
        Violation(Wrong.INVENTED, key, "kept, and never offered") for key in kept.keys() - by_key
    ]


def leases(held: Iterable[Lease]) -> list[Violation]:
    """A mutex: nobody holds what another holds, and each new hold has a larger fence."""
    found = []
    by_key: dict[str, list[Lease]] = defaultdict(list)
    for each in held:
        by_key[each.key].append(each)
    for key, intervals in by_key.items():
        intervals.sort(key=lambda each: (each.start, each.fence))
        for earlier, later in pairwise(intervals):
            if later.start < earlier.end:
                words = f"{later.who} came before {earlier.who} had to go"
                found.append(Violation(Wrong.TWO_HOLDERS, key, words))
            if later.fence <= earlier.fence:
                found.append(Violation(Wrong.FENCE_FELL, key, f"{later.fence} again"))
    return found


def register(
    moves: Sequence[Operation],
    final: Mapping[str, int],
    others: Mapping[str, int] | None = None,
    first: int = 1,
) -> list[Violation]:
    """Compare and set: of the moves from one version one succeeds, and each adds one to it.

    `others` is how many moves were made by the service itself.
    """
    found = []
    for key, tries in _by_key(moves).items():
        done = [each for each in tries if each.outcome is Outcome.OK]
        unknown = sum(each.outcome is Outcome.UNKNOWN for each in tries)
        for version, times in Counter(each.asked["version"] for each in done).items():
            if times > 1:
                words = f"{times} moves from version {version} succeeded"
                found.append(Violation(Wrong.LOST_UPDATE, key, words))
        found += [
            Violation(Wrong.SKIPPED_VERSION, key, "a move did not add one")
            for each in done
            if each.told.get("version", each.asked["version"] + 1) != each.asked["version"] + 1
        ]
        made, least = final.get(key, first) - first, len(done)
        most = least + unknown + (others or {}).get(key, 0)
        if made < least:
            found.append(Violation(Wrong.LOST_UPDATE, key, f"{least} moves, {made} versions"))
        elif made > most:
            found.append(Violation(Wrong.SKIPPED_VERSION, key, f"{most} moves, {made} versions"))
    return found


def ledger(seen: Sequence[Head], is_grown: Callable[[Head, Head], bool]) -> list[Violation]:
    """Prefix order over time: each head continues the one that was seen before it."""
    found = []
    for old, new in pairwise(seen):
        if new.size < old.size:
            words = f"{old.size} entries, and then {new.size}"
        elif new.size == old.size and new.root != old.root:
            words = f"two roots of {old.size} entries"
        elif new != old and not is_grown(old, new):
            words = f"the log of {new.size} does not begin with that of {old.size}"
        else:
            continue
        found.append(Violation(Wrong.FORKED, str(new.size), words))
    return found


def effects(owed: Collection[str], applied: Mapping[str, int]) -> list[Violation]:
    """What is owed is applied in the end, and nothing is applied twice."""
    found = [
        Violation(Wrong.LOST, key, "owed, and never done") for key in owed if not applied.get(key)
    ]
    return found + [
        Violation(Wrong.DUPLICATE, key, f"done {count} times")
        for key, count in applied.items()
        if count > 1
    ]


def audited(rows: Iterable[str], entries: Mapping[str, int]) -> list[Violation]:
    """Each governed row is named by an entry."""
    return [
        Violation(Wrong.AUDIT_GAP, key, "stored without its entry")
        for key in rows
        if not entries.get(key)
    ]


def _by_key(operations: Sequence[Operation]) -> dict[str, list[Operation]]:
    grouped: dict[str, list[Operation]] = defaultdict(list)
    for each in operations:
        grouped[each.key].append(each)
    return grouped
