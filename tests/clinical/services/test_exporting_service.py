"""Timelines leave as a data set: the log says how many, whole or not, and never of whom."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import pytest

from clinical.audit.entry import AuditEntry, AuditKind
from clinical.services.delivery import Reading
from clinical.services.exporting import ExportService, Extent
from clinical.services.ports import Exported
from clinical.timeline.patient import PatientRef
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import event, hours
from tests.clinical.services.conftest import World

pytestmark = pytest.mark.integration

ANNA, BERT, CARL = (
    PatientRef("north", "anna"),
    PatientRef("north", "bert"),
    PatientRef("south", "carl"),
)


@dataclass
class Kept:
    """A data set of the port that keeps what it is given."""

    timelines: dict[UUID, Timeline] = field(default_factory=dict)
    is_abandoned: bool = False
    before_second: Callable[[], None] = lambda: None

    def add(self, timeline: Timeline) -> None:
        if self.timelines:
            self.before_second()
        self.timelines[timeline.patient_id] = timeline

    def close(self, at: datetime) -> Exported:
        return Exported(num_subjects=len(self.timelines), num_rows=3, num_files=2, digest="d" * 64)

    def abandon(self) -> None:
        self.is_abandoned = True


@pytest.fixture
def service(world: World) -> ExportService:
    """With three patients of two sites on record, and one of whom nothing stands."""
    refs = {ref.patient_id: ref for ref in (ANNA, BERT, CARL)}
    events = [
        event(f"{ref.record_id}-{n}", at=n, received=n, patient_id=patient_id)
        for patient_id, ref in refs.items()
        for n in (1, 5)
    ]
    nobody = PatientRef("north", "nobody")
    world.reader.reading = Reading(events=events, patients=refs | {nobody.patient_id: nobody})
    receipt = world.intake.receive(world.delivery(), world.act())
    world.intake.record(receipt.delivery_id, world.act())
    return ExportService(
        open_unit_of_work=world.open_unit_of_work, clock=world.clock, identities=world.identities
    )


def entries(world: World) -> list[AuditEntry]:
    return [e for e in world.history() if e.kind is AuditKind.TIMELINES_EXPORTED]


def test_every_timeline_in_which_something_stands_is_written_and_told_once(
    world: World, service: ExportService
) -> None:
    kept = Kept()
    service.export(Extent(), kept, "ruth")
    assert set(kept.timelines) == {ref.patient_id for ref in (ANNA, BERT, CARL)}
    (entry,) = entries(world)
    assert entry.actor == "ruth"
    told = {name: value for name, value in entry.refs.items() if name not in entry.sealed_refs}
    assert told == {
        "subjects": "3",
        "rows": "3",
        "files": "2",
        "site": "all",
        "as_of": "all",
        "outcome": "done",
    }
    assert world.stands_for(entry, digest="d" * 64)


def test_one_site_is_exported_without_the_others(world: World, service: ExportService) -> None:
    kept = Kept()
    service.export(Extent(site="south"), kept, "ruth")
    assert set(kept.timelines) == {CARL.patient_id}
    assert entries(world)[0].refs["site"] == "south"


def test_what_became_known_later_is_left_out(world: World, service: ExportService) -> None:
    kept = Kept()
    service.export(Extent(as_of=hours(2)), kept, "ruth")
    assert [len(each) for each in kept.timelines.values()] == [1, 1, 1]
    assert entries(world)[0].refs["as_of"] == hours(2).isoformat()


def test_an_export_that_breaks_off_is_told_and_leaves_nothing(
    world: World, service: ExportService
) -> None:
    def full() -> None:
        raise OSError("no space left")

    kept = Kept(before_second=full)
    with pytest.raises(OSError, match="no space left"):
        service.export(Extent(), kept, "ruth")
    assert kept.is_abandoned
    (entry,) = entries(world)
    assert (entry.refs["outcome"], entry.refs["subjects"]) == ("broken_off", "1")
