"""What the checker calls wrong, and what it leaves open."""

from tests.chaos.checker import (
    Head,
    Lease,
    Violation,
    Wrong,
    audited,
    effects,
    inbox,
    leases,
    ledger,
    register,
)
from tests.chaos.history import History, Operation, Outcome
from tests.chaos.truth import holds


def delivered(key: str, outcome: Outcome, *receipts: str) -> Operation:
    return Operation(
        who="ehr", what="deliver", key=key, outcome=outcome, told={"receipts": set(receipts)}
    )


def moved(version: int, outcome: Outcome = Outcome.OK, told: int | None = None) -> Operation:
    said = {} if told is None else {"version": told}
    return Operation(
        who="dr", what="review", key="r", asked={"version": version}, told=said, outcome=outcome
    )


def kinds(found: list[Violation]) -> set[Wrong]:
    return {each.wrong for each in found}


def test_what_was_accepted_must_be_kept_and_what_is_unknown_may_be() -> None:
    adds = [delivered("a", Outcome.OK), delivered("b", Outcome.UNKNOWN)]
    assert inbox(adds, {"a": 1}) == []
    assert inbox(adds, {"a": 1, "b": 1}) == []
    assert kinds(inbox(adds, {"b": 1})) == {Wrong.LOST}


def test_what_was_refused_or_never_offered_must_not_be_kept() -> None:
    assert inbox([delivered("a", Outcome.FAIL)], {}) == []
    assert kinds(inbox([delivered("a", Outcome.FAIL)], {"a": 1})) == {Wrong.INVENTED}
    assert kinds(inbox([], {"a": 1})) == {Wrong.INVENTED}


def test_a_failure_beside_an_unknown_attempt_leaves_it_unknown() -> None:
    adds = [delivered("a", Outcome.FAIL), delivered("a", Outcome.UNKNOWN)]
    assert inbox(adds, {"a": 1}) == []
    assert inbox(adds, {}) == []


def test_the_same_id_has_one_row_and_one_receipt() -> None:
    assert kinds(inbox([delivered("a", Outcome.OK)], {"a": 2})) == {Wrong.DUPLICATE}
    twice = [delivered("a", Outcome.OK, "x"), delivered("a", Outcome.OK, "y")]
    assert kinds(inbox(twice, {"a": 1})) == {Wrong.CHANGED_ANSWER}


def test_leases_of_one_key_follow_one_another_under_rising_fences() -> None:
    first = Lease(key="m", who="a", fence=1, start=0, end=5)
    assert leases([Lease(key="m", who="b", fence=2, start=5, end=9), first]) == []
    assert leases([first, Lease(key="n", who="b", fence=1, start=1, end=2)]) == []
    early = Lease(key="m", who="b", fence=2, start=4, end=9)
    assert kinds(leases([first, early])) == {Wrong.TWO_HOLDERS}
    ghost = Lease(key="m", who="b", fence=1, start=6, end=9)
    assert kinds(leases([first, ghost])) == {Wrong.FENCE_FELL}


def test_a_clinician_surely_holds_a_review_from_the_answer_until_the_next_move() -> None:
    def move(who: str, what: str, began: float, version: int) -> Operation:
        return Operation(
            who=who,
            what="review",
            key="r",
            asked={"move": what, "version": version},
            told={"version": version + 1},
            began=began,
            ended=began + 1,
            outcome=Outcome.OK,
        )

    adams = [move("adams", "claim", 0, 1), move("adams", "release", 5, 2)]
    assert leases(holds([*adams, move("baker", "claim", 6, 3)])) == []
    assert kinds(leases(holds([*adams, move("baker", "claim", 3, 3)]))) == {Wrong.TWO_HOLDERS}


def test_of_two_moves_from_one_version_one_may_succeed() -> None:
    lost = [moved(1), moved(1)]
    assert Wrong.LOST_UPDATE in kinds(register(lost, {"r": 2}))
    assert register([moved(1), moved(1, Outcome.FAIL), moved(2)], {"r": 3}) == []


def test_an_unknown_move_may_or_may_not_have_added_a_version() -> None:
    moves = [moved(1), moved(2, Outcome.UNKNOWN)]
    assert register(moves, {"r": 2}) == []
    assert register(moves, {"r": 3}) == []
    assert kinds(register(moves, {"r": 4})) == {Wrong.SKIPPED_VERSION}
    assert kinds(register(moves, {"r": 1})) == {Wrong.LOST_UPDATE}


def test_the_services_own_moves_are_allowed_for() -> None:
    assert register([moved(1)], {"r": 3}, {"r": 1}) == []
    assert kinds(register([moved(1)], {"r": 3})) == {Wrong.SKIPPED_VERSION}


def test_a_move_adds_one() -> None:
    assert kinds(register([moved(1, told=3)], {"r": 2})) == {Wrong.SKIPPED_VERSION}


def test_a_ledger_only_grows() -> None:
    def grows(old: Head, new: Head) -> bool:
        return new.root.startswith(old.root)

    seen = [Head(1, "a"), Head(1, "a"), Head(2, "ab")]
    assert ledger(seen, grows) == []
    assert kinds(ledger([*seen, Head(1, "a")], grows)) == {Wrong.FORKED}
    assert kinds(ledger([*seen, Head(2, "ax")], grows)) == {Wrong.FORKED}
    assert kinds(ledger([*seen, Head(3, "axc")], grows)) == {Wrong.FORKED}


def test_what_is_owed_is_done_once() -> None:
    assert effects(["a"], {"a": 1}) == []
    assert kinds(effects(["a", "b"], {"a": 2})) == {Wrong.DUPLICATE, Wrong.LOST}


def test_a_row_without_an_entry_is_a_gap() -> None:
    assert audited(["a"], {"a": 1}) == []
    assert kinds(audited(["a", "b"], {"a": 1})) == {Wrong.AUDIT_GAP}


def test_an_operation_that_breaks_off_stays_unknown() -> None:
    history = History()
    try:
        with history.operation("ehr", "deliver", "a"):
            raise ConnectionResetError
    except ConnectionResetError:
        pass
    (operation,) = history.of("deliver")
    assert operation.outcome is Outcome.UNKNOWN
    assert operation.ended >= operation.began
