"""A review moves only by legal steps, has one holder at a time, and closes once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clinical.errors import ClinicalError
from clinical.review.decision import Decision, Reason, Verdict
from clinical.review.review import (
    LEASE,
    ClosedError,
    HeldByAnotherError,
    NotHolderError,
    Review,
    ReviewState,
)

NOW = datetime(2024, 5, 1, 9, tzinfo=UTC)
ANNA, BEN = "anna", "ben"


def review() -> Review:
    return Review(
        review_id=UUID(int=1),
        prediction_id=UUID(int=2),
        patient_id=UUID(int=3),
        priority=0.3,
        opened_at=NOW,
    )


def test_a_claim_lasts_for_the_lease_and_no_longer() -> None:
    claimed = review().claim(ANNA, NOW)
    assert claimed.holder(NOW + LEASE - timedelta(seconds=1)) == ANNA
    assert claimed.holder(NOW + LEASE) is None


def test_only_one_holds_it() -> None:
    with pytest.raises(HeldByAnotherError):
        review().claim(ANNA, NOW).claim(BEN, NOW + timedelta(minutes=1))


def test_claiming_again_extends_and_keeps_the_fence() -> None:
    first = review().claim(ANNA, NOW)
    again = first.claim(ANNA, NOW + timedelta(minutes=10))
    assert again.fence == first.fence == 1
    assert again.holder(NOW + LEASE + timedelta(minutes=9)) == ANNA


def test_an_expired_claim_can_be_taken_and_the_old_holder_cannot_sign() -> None:
    taken = review().claim(ANNA, NOW).claim(BEN, NOW + LEASE)
    assert taken.fence == 2
    with pytest.raises(NotHolderError):
        taken.sign(ANNA, NOW + LEASE)


def test_only_a_holder_signs_or_releases() -> None:
    for act in (review().sign, review().release, review().claim(ANNA, NOW).sign):
        with pytest.raises(NotHolderError):
            act(BEN, NOW)


def test_a_released_review_is_queued_again() -> None:
    released = review().claim(ANNA, NOW).release(ANNA, NOW)
    assert (released.state, released.claimed_by) == (ReviewState.QUEUED, None)


@pytest.mark.parametrize(
    "closed",
    [
        review().claim(ANNA, NOW).sign(ANNA, NOW),
        review().supersede(NOW, "a newer prediction"),
        review().withdraw(NOW, "recall"),
    ],
)
def test_nothing_leaves_a_closed_state(closed: Review) -> None:
    assert not closed.is_open
    assert closed.closed_at == NOW
    for act in (
        lambda: closed.claim(ANNA, NOW),
        lambda: closed.release(ANNA, NOW),
        lambda: closed.sign(ANNA, NOW),
        lambda: closed.supersede(NOW, ""),
        lambda: closed.withdraw(NOW, ""),
    ):
        with pytest.raises(ClosedError):
            act()


def test_the_digest_of_a_decision_covers_every_field() -> None:
    fields = {
        "decision_id": UUID(int=1),
        "review_id": UUID(int=2),
        "verdict": Verdict.AGREE,
        "reasons": (Reason.OTHER,),
        "note": "n",
        "decided_by": ANNA,
        "decided_at": NOW,
        "prediction_digest": "d",
    }
    changes = {
        "decision_id": UUID(int=9),
        "review_id": UUID(int=9),
        "verdict": Verdict.DISAGREE,
        "reasons": (),
        "note": "m",
        "decided_by": BEN,
        "decided_at": NOW + timedelta(1),
        "prediction_digest": "e",
    }
    digests = {Decision(**fields).digest} | {
        Decision(**fields | {k: v}).digest for k, v in changes.items()
    }  # type: ignore[arg-type]
    assert len(digests) == 1 + len(changes)


class ReviewMachine(RuleBasedStateMachine):
    """Random clinicians do random things at random times."""

    def __init__(self) -> None:
        super().__init__()
        self.review, self.now, self.signed_by = review(), NOW, ""

    @rule(minutes=st.integers(0, 20))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(who=st.sampled_from([ANNA, BEN]), step=st.sampled_from(["claim", "release", "sign"]))
    def act(self, who: str, step: str) -> None:
        before, holder = self.review, self.review.holder(self.now)
        try:
            self.review = getattr(before, step)(who, self.now)
        except ClinicalError:
            assert not before.is_open or holder != who
            return
        assert before.is_open
        assert self.review.version == before.version + 1
        assert step == "claim" or holder == who
        assert step != "claim" or holder in {who, None}

    @rule()
    def supersede(self) -> None:
        if self.review.is_open:
            self.review = self.review.supersede(self.now, "newer")

    @invariant()
    def a_holder_exists_only_while_claimed(self) -> None:
        assert self.review.holder(self.now) is None or self.review.state is ReviewState.CLAIMED
        assert self.review.is_open == (self.review.closed_at is None)


TestReviewMachine = ReviewMachine.TestCase
TestReviewMachine.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
