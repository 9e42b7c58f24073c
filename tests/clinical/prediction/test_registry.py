"""No sequence of moves lets one person alone bring a model into use, or a stopped model answer."""

from datetime import UTC, datetime

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clinical.errors import ClinicalError
from clinical.prediction.prediction import ModelFingerprint
from clinical.prediction.registry import (
    AlreadyPromotedError,
    AlreadyProposedError,
    Concern,
    ModelNotPromotedError,
    ModelState,
    ModelStop,
    ModelStoppedError,
    NotProposedError,
    RegisteredModel,
    SamePersonError,
    is_same_person,
)
from clinical.prediction.request import Purpose

NOW = datetime(2024, 5, 1, 9, tzinfo=UTC)
ANNA, BEN = "anna", "ben"
STOP = ModelStop(at=NOW, by=ANNA, concern=Concern.SAFETY)


def registered() -> RegisteredModel:
    known = ModelFingerprint(
        name="m", version="1", manifest_digest="a" * 64, vocabulary_digest="b" * 64
    )
    return RegisteredModel(fingerprint=known, registered_at=NOW)


def test_two_people_promote_it_and_one_cannot() -> None:
    proposed = registered().propose(ANNA)
    with pytest.raises(SamePersonError):
        proposed.promote("  Anna ")
    assert proposed.promote(BEN).state is ModelState.PROMOTED
    with pytest.raises(NotProposedError):
        registered().promote(BEN)
    with pytest.raises(AlreadyProposedError):
        proposed.propose(BEN)
    with pytest.raises(AlreadyPromotedError):
        proposed.promote(BEN).propose(ANNA)


def test_unpromoted_it_answers_of_the_past_alone_and_stopped_nothing() -> None:
    registered().require_answers(Purpose.RETROSPECTIVE)
    with pytest.raises(ModelNotPromotedError):
        registered().propose(ANNA).require_answers(Purpose.REVIEW)
    registered().install().require_answers(Purpose.REVIEW)
    for purpose in Purpose:
        with pytest.raises(ModelStoppedError):
            registered().install().stopped(STOP).require_answers(purpose)


def test_a_stopped_model_stays_stopped_while_it_is_proposed_and_needs_two_people_again() -> None:
    proposed = registered().install().stopped(STOP).propose(ANNA)
    assert proposed.stop == STOP
    with pytest.raises(ModelStoppedError):
        proposed.require_answers(Purpose.REVIEW)
    with pytest.raises(SamePersonError):
        proposed.promote(ANNA)
    assert proposed.promote(BEN).stop is None


def test_the_first_stop_stands_and_a_stop_fells_a_proposal() -> None:
    later = ModelStop(at=NOW, by=BEN, concern=Concern.OTHER)
    stopped = registered().stopped(STOP).propose(ANNA).stopped(later)
    assert stopped.stop == STOP
    with pytest.raises(NotProposedError):
        stopped.promote(BEN)


def test_a_stopped_model_is_never_installed() -> None:
    with pytest.raises(ModelStoppedError):
        registered().stopped(STOP).install()


@pytest.mark.parametrize("other", ["ANNA", " anna", "an\u200bna".replace("\u200b", ""), "ａｎｎａ"])
def test_one_person_has_one_name_however_it_is_written(other: str) -> None:
    assert is_same_person("anna", other)
    assert not is_same_person("anna", "hanna")


class Registry(RuleBasedStateMachine):
    """Anybody may try any move at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.model = registered()
        self.proposer: str | None = None
        self.backers: set[str] = set()

    def _move(self, moved: RegisteredModel) -> None:
        assert moved.version == self.model.version + 1
        self.model = moved

    @rule(who=st.sampled_from([ANNA, BEN, "eva"]))
    def propose(self, who: str) -> None:
        try:
            self._move(self.model.propose(who))
        except ClinicalError:
            return
        self.proposer = who

    @rule(who=st.sampled_from([ANNA, BEN, "eva"]))
    def promote(self, who: str) -> None:
        try:
            self._move(self.model.promote(who))
        except ClinicalError:
            return
        assert self.proposer is not None
        self.backers, self.proposer = {self.proposer, who}, None

    @rule(who=st.sampled_from([ANNA, BEN, "eva"]))
    def stop(self, who: str) -> None:
        self._move(self.model.stopped(ModelStop(at=NOW, by=who, concern=Concern.DRIFT)))
        self.backers, self.proposer = set(), None

    @invariant()
    def whoever_answers_for_review_was_backed_by_two(self) -> None:
        try:
            self.model.require_answers(Purpose.REVIEW)
        except ClinicalError:
            assert len(self.backers) == 0 or self.model.state is not ModelState.PROMOTED
        else:
            assert len(self.backers) == 2


TestRegistry = Registry.TestCase
