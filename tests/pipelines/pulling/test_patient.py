"""Everything of a patient: page by page, whole, and nobody else's records taken for theirs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from adapters.egress.errors import PeerRefusedError
from adapters.fhir.pulling.errors import BadPatientIdError, ForeignPageError, LoopingPagesError
from pipelines.pulling.patient import PatientReport, pull_patient
from tests.pipelines.importing_stage import observation, patient
from tests.pipelines.pulling.ehr import Ehr, Reply, answer, in_turn
from tests.pipelines.pulling.stage import PullStage, pull_stage

pytestmark = pytest.mark.integration

EVERYTHING = "GET /fhir/Patient/p1/$everything"


@pytest.fixture
def ehr() -> Iterator[Ehr]:
    with Ehr() as running:
        yield running


@pytest.fixture
def stage(engine: Engine, ehr: Ehr, tmp_path: Path) -> PullStage:
    return pull_stage(engine, ehr, tmp_path)


def pull(stage: PullStage, record_id: str = "p1") -> PatientReport:
    return pull_patient(
        stage.service, stage.site.asking, record_id, clock=stage.clock, actor="anna"
    )


def page(*resources: dict[str, object], following: str = "") -> Reply:
    link = [{"relation": "next", "url": following}] if following else []
    entries = [{"resource": each} for each in resources]
    return answer({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entries})


def test_every_page_is_stored_whole_and_understood(ehr: Ehr, stage: PullStage) -> None:
    first = page(patient(), following="$everything?page=2")
    second = page(observation("o1"), observation("o2"))
    ehr.routes[EVERYTHING] = in_turn(first, second)
    report = pull(stage)
    assert (report.num_pages, report.num_new_pages) == (2, 2)
    assert stage.stage.bodies() == [first.body, second.body]
    stage.understand()
    assert {record_id for _, record_id, _ in stage.records()} == {"p1", "o1", "o2"}


def test_records_of_other_patients_are_set_aside_by_name_and_their_bytes_kept(
    ehr: Ehr, stage: PullStage
) -> None:
    """A server may bring what is linked: a mother's record, or that of whoever was merged."""
    theirs = observation("o9", subject={"reference": "Patient/p2"})
    nobodys = {"resourceType": "Practitioner", "id": "d1"}
    sent = page(patient(), observation("o1"), patient("p2"), theirs, nobodys)
    ehr.routes[EVERYTHING] = lambda _: sent
    pull(stage)
    stage.understand()
    assert {record_id for _, record_id, _ in stage.records()} == {"p1", "o1"}
    assert stage.reasons() == ["fhir.other_patient"] * 2
    assert stage.stage.bodies() == [sent.body]


def test_an_absolute_reference_to_the_patient_is_the_patient(ehr: Ehr, stage: PullStage) -> None:
    mine = observation("o1", subject={"reference": f"{ehr.url}/Patient/p1"})
    ehr.routes[EVERYTHING] = lambda _: page(mine)
    pull(stage)
    stage.understand()
    assert {record_id for _, record_id, _ in stage.records()} == {"o1"}


def test_asking_again_stores_nothing_that_did_not_change(ehr: Ehr, stage: PullStage) -> None:
    ehr.routes[EVERYTHING] = lambda _: page(patient())
    pull(stage)
    assert pull(stage).num_new_pages == 0


def test_the_log_says_that_it_was_asked_and_not_of_whom(ehr: Ehr, stage: PullStage) -> None:
    ehr.routes[EVERYTHING] = lambda _: page(patient())
    pull(stage)
    with pytest.raises(PeerRefusedError):
        pull(stage, "p2")
    assert stage.pulled() == [
        {"how": "everything", "site": "north", "pages": "1", "new_pages": "1", "too_large": "0"},
        {
            "how": "everything",
            "site": "north",
            "pages": "0",
            "new_pages": "0",
            "too_large": "0",
            "why": "peer.refused",
        },
    ]


def test_a_page_beyond_what_a_reader_opens_is_kept_and_told(ehr: Ehr, stage: PullStage) -> None:
    ehr.routes[EVERYTHING] = lambda _: page(observation("o1", note=[{"text": "x" * 17 * 2**20}]))
    report = pull(stage)
    assert (report.num_pages, report.num_too_large) == (1, 1)
    stage.understand()
    assert stage.reasons() == ["fhir.too_large"]


@pytest.mark.parametrize("record_id", ["", "p1/../../admin", "p1?x=y", "a b", "x" * 65])
def test_what_is_no_id_is_not_asked_for(ehr: Ehr, stage: PullStage, record_id: str) -> None:
    with pytest.raises(BadPatientIdError):
        pull(stage, record_id)
    assert ehr.asked == []


def test_a_next_page_on_another_host_is_not_asked_for(ehr: Ehr, stage: PullStage) -> None:
    with Ehr() as elsewhere:
        ehr.routes[EVERYTHING] = lambda _: page(patient(), following=f"{elsewhere.url}/more")
        with pytest.raises(ForeignPageError):
            pull(stage)
        assert elsewhere.asked == []
    assert len(stage.stage.bodies()) == 1


def test_pages_that_lead_in_a_circle_are_left(ehr: Ehr, stage: PullStage) -> None:
    ehr.routes[EVERYTHING] = in_turn(
        page(patient(), following="$everything?page=2"),
        page(observation("o1"), following="$everything?page=2"),
    )
    with pytest.raises(LoopingPagesError):
        pull(stage)
    assert len(ehr.asked) == 2
