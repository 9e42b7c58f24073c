"""Created, corrected, moved, deleted, merged and separated in any order: what stands is the same."""

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Source, Standing
from clinical.timeline.merge import Merges, MergeStatement, Says
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity
from clinical.timeline.timeline import Timeline
from clinical.timeline.versions import by_patient, record_of
from clinical.timeline.withdrawal import Deletion, contents, retractions
from tests.clinical.builders import DELIVERY, event, hours

ADA, BEN, CY = (PatientRef("north", name).patient_id for name in ("ada", "ben", "cy"))
PEOPLE = (ADA, BEN, CY)


def version(
    patient_id: UUID,
    record_id: str = "o1",
    *,
    updated: float | None = 1,
    received: float = 10,
    value: str = "1",
    **changes: object,
) -> Event:
    """A version of a record about a patient; its bytes are told by all of these."""
    content = f"{patient_id} {updated} {value}"
    return event(
        record_id,
        patient_id=patient_id,
        updated=updated,
        received=received,
        value=value,
        content=content,
        **changes,
    )


def deleted(record_id: str = "o1", *, updated: float | None = 2, received: float = 20) -> Deletion:
    said = f"DELETE {record_id} {updated if updated is not None else received}"
    source = Source(
        site="north",
        record_type="Observation",
        record_id=record_id,
        digest=hashlib.sha256(said.encode()).hexdigest(),
        delivery_id=DELIVERY,
        updated_at=None if updated is None else hours(updated),
    )
    return Deletion(source=source, received_at=hours(received))


def merged(
    gone: UUID,
    kept: UUID,
    *,
    at: float,
    says: Says = Says.MERGED,
    by: str = "",
    received: float = 0,
) -> MergeStatement:
    return MergeStatement(
        gone_id=gone,
        kept_id=kept,
        says=says,
        said_by=by or f"Patient/{gone}",
        digest=hashlib.sha256(f"{gone} {kept} {at} {says} {by}".encode()).hexdigest(),
        updated_at=hours(at),
        received_at=hours(received or at),
        delivery_id=DELIVERY,
    )


Said = Event | Deletion | MergeStatement


@dataclass
class Held:
    """What a service holds that records each thing as it comes, as `services/retraction` does."""

    events: list[Event]
    deletions: list[Deletion]
    statements: list[MergeStatement]

    @classmethod
    def of(cls, said: Iterable[Said]) -> "Held":
        held = cls([], [], [])
        for each in said:
            held.take(each)
        return held

    def take(self, said: Said) -> None:
        if isinstance(said, MergeStatement):
            self.statements.append(said)
            return
        if isinstance(said, Event):
            self.events.append(said)
            record = record_of(said)
        else:
            self.deletions.append(said)
            record = said.record
        known = [e for e in self.events if record_of(e) == record]
        self.events += retractions(known, [d for d in self.deletions if d.record == record])

    def timeline(self, patient_id: UUID) -> Timeline:
        return Timeline.of_person(
            patient_id, by_patient(self.events), Merges(tuple(self.statements))
        )


def values(timeline: Timeline) -> list[str]:
    return [str(e.value.value) for e in timeline if isinstance(e.value, Quantity)]


moments = st.integers(1, 30)
versions = st.builds(
    lambda patient_id, record_id, updated, received, value, is_error: version(
        patient_id,
        record_id,
        updated=updated,
        received=received,
        value=str(value),
        standing=Standing.RETRACTED if is_error else Standing.ASSERTED,
    ),
    st.sampled_from(PEOPLE),
    st.sampled_from(["o1", "o2"]),
    st.none() | moments,
    moments,
    st.integers(1, 3),
    st.booleans(),
)
deletions = st.builds(
    lambda record_id, updated, received: deleted(record_id, updated=updated, received=received),
    st.sampled_from(["o1", "o2"]),
    st.none() | moments,
    moments,
)
statements = st.builds(
    lambda gone, kept, at, says, by, received: merged(
        gone, kept, at=at, says=says, by=by, received=received
    ),
    st.sampled_from(PEOPLE),
    st.sampled_from(PEOPLE),
    moments,
    st.sampled_from(Says),
    st.sampled_from(["Patient/a", "Patient/b"]),
    moments,
)


def _named(said: Said) -> object:
    """What makes it the same as another: a version is told once, whenever it comes again."""
    match said:
        case Event():
            return said.source.digest
        case Deletion():
            return said.source.digest
        case MergeStatement():
            return said.digest


stories = st.lists(versions | deletions | statements, max_size=9, unique_by=_named)


@given(stories, st.randoms(use_true_random=False))
def test_any_order_of_arrival_ends_in_the_same_standing(
    story: list[Said], chance: random.Random
) -> None:
    shuffled = list(story)
    chance.shuffle(shuffled)
    for patient_id in PEOPLE:
        one, other = Held.of(story).timeline(patient_id), Held.of(shuffled).timeline(patient_id)
        assert one.standing == other.standing
        assert one.input_digest == other.input_digest


def _received_at(said: Said) -> datetime:
    return said.received_at


@given(stories, moments, st.integers(1, 2_000))
def test_cutting_before_something_came_is_never_having_received_it(
    story: list[Said], received: int, as_of: int
) -> None:
    by = hours(received)
    came = [said for said in story if _received_at(said) <= by]
    for patient_id in PEOPLE:
        cut = Held.of(story).timeline(patient_id).cut(hours(as_of), received_by=by)
        never = Held.of(came).timeline(patient_id).cut(hours(as_of), received_by=by)
        assert cut.input_digest == never.input_digest


@given(stories, st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_cutting_twice_is_cutting_at_the_earlier_also_over_merges(
    story: list[Said], cuts: tuple[int, int]
) -> None:
    first, second = (hours(cut) for cut in cuts)
    timeline = Held.of(story).timeline(BEN)
    twice, once = timeline.cut(first).cut(second), timeline.cut(min(first, second))
    assert (twice.versions, twice.standing) == (once.versions, once.standing)


@given(stories)
def test_a_question_about_all_that_is_known_is_the_same_question_when_it_is_asked_again(
    story: list[Said],
) -> None:
    """The cut that is stored with an answer is `known_until`, not the wall clock."""
    now = hours(5_000)
    for patient_id in PEOPLE:
        timeline = Held.of(story).timeline(patient_id)
        asked = timeline.cut(now, received_by=now)
        if asked.known_until is not None:
            again = timeline.cut(asked.known_until, received_by=now)
            assert again.input_digest == asked.input_digest


@given(stories)
def test_nobody_is_led_in_a_circle_and_everybody_is_under_whom_they_are_led_to(
    story: list[Said],
) -> None:
    merges = Merges(tuple(said for said in story if isinstance(said, MergeStatement)))
    for patient_id in PEOPLE:
        lead = merges.lead(patient_id)
        assert merges.lead(lead) == lead
        assert lead == patient_id or patient_id in merges.under(lead)


def test_a_deleted_record_stands_until_it_was_deleted_and_not_after() -> None:
    timeline = Held.of([version(ADA, updated=1), deleted(updated=5, received=20)]).timeline(ADA)
    assert values(timeline.cut(hours(4))) == ["1"]
    assert values(timeline.cut(hours(5))) == []
    assert values(timeline.cut(hours(5), received_by=hours(19))) == ["1"]
    assert len(timeline.versions) == 2


@pytest.mark.parametrize("is_create_first", [True, False])
def test_a_deletion_and_a_later_version_are_ordered_by_when_they_were_made(
    is_create_first: bool,
) -> None:
    again, gone = version(ADA, updated=6, received=30), deleted(updated=5, received=20)
    story: Sequence[Said] = [again, gone] if is_create_first else [gone, again]
    assert values(Held.of(story).timeline(ADA)) == ["1"]


@pytest.mark.parametrize("is_create_first", [True, False])
def test_a_version_that_was_made_before_the_deletion_stays_away_however_late_it_comes(
    is_create_first: bool,
) -> None:
    before, gone = version(ADA, updated=4, received=30), deleted(updated=5, received=20)
    story: Sequence[Said] = [before, gone] if is_create_first else [gone, before]
    assert values(Held.of(story).timeline(ADA)) == []


def test_a_deletion_without_a_time_is_as_late_as_it_came() -> None:
    gone = deleted(updated=None, received=20)
    assert values(Held.of([version(ADA, updated=19), gone]).timeline(ADA)) == []
    assert values(Held.of([version(ADA, updated=21, received=15), gone]).timeline(ADA)) == ["1"]


def test_a_version_without_a_time_of_its_own_is_deleted_by_whatever_deletion_came_after_it() -> (
    None
):
    """Its sender made it some time before it came: the deletion may have been done before that, too."""
    untimed, gone = version(ADA, updated=None, received=10), deleted(updated=9, received=12)
    assert values(Held.of([untimed, gone]).timeline(ADA)) == []
    later = version(ADA, updated=None, received=13)
    assert values(Held.of([later, gone]).timeline(ADA)) == ["1"]


def test_a_record_deleted_twice_and_made_again_in_between_is_gone() -> None:
    story = [
        version(ADA, updated=1),
        deleted(updated=None, received=20),
        version(ADA, updated=25, received=26, value="2"),
        deleted(updated=None, received=30),
    ]
    assert values(Held.of(story[:3]).timeline(ADA)) == ["2"]
    assert values(Held.of(story).timeline(ADA)) == []


def test_a_record_that_was_of_the_wrong_patient_leaves_their_timeline() -> None:
    story = [version(ADA, updated=1), version(BEN, updated=5, received=20)]
    held = Held.of(story)
    assert values(held.timeline(ADA)) == []
    assert values(held.timeline(ADA).cut(hours(4))) == ["1"]
    assert values(held.timeline(BEN)) == ["1"]
    back = Held.of([*story, version(ADA, updated=9, received=30, value="3")])
    assert values(back.timeline(ADA)) == ["3"]
    assert values(back.timeline(BEN)) == []


def test_a_record_that_moves_to_the_kept_patient_is_there_once() -> None:
    story = [
        version(ADA, updated=1),
        version(BEN, updated=5, received=20, value="2"),
        merged(ADA, BEN, at=4),
    ]
    assert values(Held.of(story).timeline(BEN)) == ["2"]


def test_the_kept_patient_knows_what_was_under_the_gone_record_from_the_merge_on() -> None:
    ben_s, ada_s = version(BEN, "o2", value="2"), version(ADA, value="1")
    held = Held.of([ben_s, ada_s, merged(ADA, BEN, at=30, received=40)])
    kept = held.timeline(BEN)
    assert values(kept) == ["2", "1"]
    assert {e.patient_id for e in kept} == {BEN}
    assert kept.standing[-1].at == hours(30)
    assert values(kept.cut(hours(29))) == ["2"]
    before = kept.cut(hours(50), received_by=hours(39))
    assert before.input_digest == Timeline.of(BEN, [ben_s]).cut(hours(50)).input_digest
    assert values(held.timeline(ADA)) == ["1"]


def test_what_comes_later_for_the_gone_record_is_of_the_kept_patient_too() -> None:
    late = version(ADA, "o3", updated=60, received=61, recorded=60, value="3")
    kept = Held.of([merged(ADA, BEN, at=30), late]).timeline(BEN)
    assert [(known.at, str(known.event.event_id)) for known in kept.standing] == [
        (hours(60), str(late.event_id))
    ]


def test_separated_again_nothing_of_the_other_is_left_from_then_on() -> None:
    story = [
        version(ADA, value="1"),
        version(BEN, "o2", value="2"),
        merged(ADA, BEN, at=30),
        merged(ADA, BEN, at=40, says=Says.SEPARATED, by="ADT/7"),
    ]
    timeline = Held.of(story).timeline(BEN)
    assert values(timeline) == ["2"]
    assert values(timeline.cut(hours(35))) == ["2", "1"]
    again = Held.of([*story, merged(ADA, BEN, at=50)])
    assert values(again.timeline(BEN)) == ["2", "1"]
    assert again.timeline(BEN).standing[-1].at == hours(50)


def test_a_record_that_says_no_more_that_it_was_replaced_stands_by_itself() -> None:
    said = [merged(ADA, BEN, at=30), merged(ADA, BEN, at=40, says=Says.SILENT)]
    assert Merges(tuple(said)).lead(ADA) == ADA
    by_another = merged(ADA, BEN, at=31, by="Patient/ben")
    assert Merges((*said, by_another)).lead(ADA) == BEN


def test_said_again_it_holds_since_it_was_first_said() -> None:
    said = (merged(ADA, BEN, at=30), merged(ADA, BEN, at=40), merged(ADA, BEN, at=45, by="x"))
    assert Merges(said).under(BEN) == {ADA: hours(30)}


def test_in_a_chain_everything_ends_under_the_last_and_is_known_from_the_later_merge() -> None:
    story = [version(ADA), merged(ADA, BEN, at=30), merged(BEN, CY, at=20)]
    held = Held.of(story)
    assert Merges(tuple(held.statements)).lead(ADA) == CY
    assert [known.at for known in held.timeline(CY).standing] == [hours(30)]
    assert [known.at for known in held.timeline(BEN).standing] == [hours(30)]


def test_of_a_circle_what_was_said_first_no_longer_holds() -> None:
    merges = Merges((merged(ADA, BEN, at=1), merged(BEN, CY, at=2), merged(CY, ADA, at=3)))
    assert {merges.lead(each) for each in PEOPLE} == {ADA}
    assert set(merges.under(ADA)) == {BEN, CY}
    turned = Merges((merged(ADA, BEN, at=1), merged(BEN, ADA, at=2)))
    assert (turned.lead(ADA), turned.lead(BEN)) == (ADA, ADA)


def test_a_record_that_is_merged_into_itself_is_left_alone() -> None:
    merges = Merges((merged(ADA, ADA, at=1),))
    assert (merges.lead(ADA), dict(merges.under(ADA))) == (ADA, {})


def test_who_the_patient_is_says_the_kept_record_where_it_says_anything() -> None:
    def born(patient_id: UUID, sex: str) -> Event:
        made = event(sex, kind=EventKind.PATIENT, code=Code(CodeSystem.GENDER, sex))
        return replace(made, patient_id=patient_id)

    said = merged(ADA, BEN, at=30)
    both = Held.of([born(ADA, "female"), born(BEN, "male"), version(ADA), said]).timeline(BEN)
    assert [e.code.value for e in both if e.kind is EventKind.PATIENT] == ["male"]
    only = Held.of([born(ADA, "female"), version(ADA), said]).timeline(BEN)
    assert [e.code.value for e in only if e.kind is EventKind.PATIENT] == ["female"]
    assert len(both) == len(only) == 2


def test_content_is_what_a_model_reads_of_a_fact_and_not_which_version_said_it() -> None:
    same = [version(ADA, updated=1, value="1"), version(ADA, updated=2, value="1")]
    assert len(contents(same)) == 1
    assert len(contents([*same, version(ADA, updated=3, value="1.0")])) == 2
    tentative = version(ADA, updated=4, value="1", standing=Standing.TENTATIVE)
    assert len(contents([*same, tentative])) == 2


def test_a_timeline_without_merges_is_what_it_was_before_there_were_any() -> None:
    events = [
        event(f"o{n}", at=n, recorded=n + timedelta(hours=1) / timedelta(hours=2)) for n in range(9)
    ]
    patient_id = events[0].patient_id
    assert Timeline.of_person(patient_id, {patient_id: events}, Merges()) == Timeline.of(
        patient_id, events
    )
