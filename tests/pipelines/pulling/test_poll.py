"""Polling for what changed: nothing is lost, whatever a server does with what it is asked."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from adapters.egress.errors import PeerBusyError, PeerRefusedError, UnreadableAnswerError
from adapters.fhir.pulling.errors import ForeignPageError, LoopingPagesError
from adapters.sites.peers import Limits
from adapters.sites.pulling import Poll
from clinical.services.messages import TakenOverError
from pipelines.pulling.poll import Oddity, PageTooLargeError, PollReport
from tests.pipelines.importing_stage import observation
from tests.pipelines.pulling.clinic import BEGINNING, Clinic
from tests.pipelines.pulling.ehr import Asked, Ehr, Reply, answer, html, in_turn
from tests.pipelines.pulling.stage import PullStage, pull_stage

pytestmark = pytest.mark.integration

POLL = Poll(types=("Observation",), page_size=3, overlap_minutes=1.0)
SEARCH = "GET /fhir/Observation"


@pytest.fixture
def ehr() -> Iterator[Ehr]:
    with Ehr() as running:
        yield running


@pytest.fixture
def clinic(ehr: Ehr) -> Clinic:
    """A clinic that answers at the EHR's address, with seven resources of seven moments."""
    made = Clinic(base_url=ehr.url)

    def search(asked: Asked) -> Reply:
        query = "&".join(f"{name}={value[0]}" for name, value in asked.query.items())
        bundle, headers = made.search(f"/Observation?{query.replace('+', '%2B')}")
        return answer(bundle, **headers)

    ehr.routes[SEARCH] = search
    for number in range(7):
        made.write(f"o{number}")
        made.now += timedelta(minutes=10)
    return made


@pytest.fixture
def stage(engine: Engine, ehr: Ehr, tmp_path: Path) -> PullStage:
    return pull_stage(engine, ehr, tmp_path, poll=POLL)


def turn(stage: PullStage) -> PollReport:
    report = stage.poller().turn("Observation", is_due=False)
    assert report is not None
    return report


def known(stage: PullStage) -> set[str]:
    """The ids of the records that are understood."""
    stage.understand()
    return {record_id for _, record_id, _ in stage.records()}


def test_the_first_poll_takes_everything_and_the_next_only_what_changed(
    clinic: Clinic, stage: PullStage
) -> None:
    turn(stage)
    assert len(known(stage)) == 7
    assert stage.watermark() == BEGINNING + timedelta(minutes=60)
    clinic.queries.clear()
    clinic.write("o0")
    turn(stage)
    assert clinic.queries[0]["_lastUpdated"] == "ge2026-03-01T12:59:00.000Z"
    assert clinic.queries[0]["_sort"] == "_lastUpdated"
    assert clinic.queries[0]["_count"] == "3"
    assert stage.watermark() == BEGINNING + timedelta(minutes=70)


def test_the_first_poll_begins_where_the_site_says(
    engine: Engine, ehr: Ehr, clinic: Clinic, tmp_path: Path
) -> None:
    poll = Poll(types=("Observation",), page_size=3, since="2026-03-01T12:45:00Z")
    stage = pull_stage(engine, ehr, tmp_path, poll=poll)
    turn(stage)
    assert known(stage) == {"o5", "o6"}


def test_a_page_that_did_not_change_is_not_stored_again(clinic: Clinic, stage: PullStage) -> None:
    """Though the Bundle around it has another id and another moment in every answer."""
    turn(stage)
    turn(stage)  # what lies within the overlap, on a page of its own
    assert turn(stage).num_new_pages == 0
    assert len(stage.pulled()) == 2


def test_the_watermark_is_the_servers_and_never_beyond_the_servers_own_clock(
    clinic: Clinic, stage: PullStage
) -> None:
    """One resource with a stamp in the future would otherwise hide everything until then."""
    clinic.held["o9"] = (clinic.now + timedelta(days=9000), 1)
    turn(stage)
    assert stage.watermark() == clinic.now


def test_what_comes_to_light_late_is_found_within_the_overlap(
    clinic: Clinic, stage: PullStage
) -> None:
    clinic.write_unseen("late")
    clinic.now += timedelta(seconds=50)
    clinic.write("o0")
    turn(stage)
    clinic.reveal()
    turn(stage)
    assert "late" in known(stage)


def test_only_one_worker_polls_a_site_at_a_time(clinic: Clinic, stage: PullStage) -> None:
    others: list[PollReport | None] = []
    clinic.before_answer = lambda: (
        others.append(stage.poller().turn("Observation", is_due=False)) if not others else None
    )
    turn(stage)
    assert others == [None]


def test_a_worker_that_was_overtaken_keeps_nothing_more(
    engine: Engine, clinic: Clinic, stage: PullStage
) -> None:
    def overtake() -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE polls SET fence = fence + 1"))

    clinic.before_answer = overtake
    with pytest.raises(TakenOverError):
        turn(stage)
    assert stage.stage.bodies() == []


def test_a_poll_waits_until_it_is_due(clinic: Clinic, stage: PullStage) -> None:
    assert stage.poller().turn("Observation") is not None
    assert stage.poller().turn("Observation") is None
    assert stage.poller().turn("Observation", is_due=False) is not None


def test_an_ehr_that_is_busy_is_left_alone_for_as_long_as_it_says(
    ehr: Ehr, stage: PullStage, engine: Engine
) -> None:
    ehr.routes[SEARCH] = lambda _: Reply(status=429, headers={"retry-after": str(7 * 24 * 3600)})
    with pytest.raises(PeerBusyError):
        turn(stage)
    with engine.connect() as connection:
        row = connection.execute(
            text("SELECT last_error_code, due_at - now() AS pause, leased_until FROM polls")
        ).one()
    assert row.last_error_code == "peer.busy"
    assert timedelta(minutes=59) < row.pause <= timedelta(hours=1)  # capped by the site
    assert row.leased_until is None


@pytest.mark.parametrize("reply", [html(), answer([]), answer({"resourceType": "Observation"})])
def test_what_is_no_page_is_named_and_the_watermark_stays(
    ehr: Ehr, stage: PullStage, reply: Reply
) -> None:
    ehr.routes[SEARCH] = lambda _: reply
    with pytest.raises(UnreadableAnswerError):
        turn(stage)
    assert stage.watermark() is None
    assert stage.pulled()[0]["why"] == "peer.unreadable_answer"


def test_a_refused_search_is_named(ehr: Ehr, stage: PullStage) -> None:
    """Many EHRs answer no search of clinical resources without a patient."""
    ehr.routes[SEARCH] = lambda _: answer({"resourceType": "OperationOutcome"}, status=403)
    with pytest.raises(PeerRefusedError):
        turn(stage)


def test_a_server_that_ignores_sort_is_told_and_nothing_is_lost(
    clinic: Clinic, stage: PullStage
) -> None:
    clinic.sorts = False
    clinic.write("o0")  # now the newest, and on the first page
    report = turn(stage)
    assert Oddity.SORT_IGNORED in report.oddities
    assert len(known(stage)) == 7
    assert stage.watermark() == BEGINNING + timedelta(minutes=70)


def test_a_server_that_ignores_last_updated_is_told_and_nothing_is_lost(
    clinic: Clinic, stage: PullStage
) -> None:
    turn(stage)
    clinic.filters = False
    clinic.write("o3")
    report = turn(stage)
    assert {Oddity.FILTER_IGNORED, Oddity.OUTSIDE_WINDOW} <= report.oddities
    assert stage.watermark() == BEGINNING + timedelta(minutes=70)


def test_a_server_that_does_not_say_what_it_was_asked_is_not_trusted_with_the_order(
    clinic: Clinic, stage: PullStage
) -> None:
    clinic.names_itself = False
    report = turn(stage)
    assert Oddity.NO_SELF_LINK in report.oddities
    assert len(known(stage)) == 7


def test_oracle_health_applies_a_smaller_count_and_says_so_in_link_self(
    engine: Engine, ehr: Ehr, clinic: Clinic, tmp_path: Path
) -> None:
    """Default 50, at most 1,000, whatever was asked (03, section 2.3)."""
    clinic.max_count = 2
    stage = pull_stage(engine, ehr, tmp_path, poll=POLL)
    report = turn(stage)
    assert report.oddities == {Oddity.COUNT_LOWERED}
    assert len(known(stage)) == 7


def test_oracle_health_leaves_malformed_resources_out_and_says_so_inline(
    clinic: Clinic, stage: PullStage
) -> None:
    """The OperationOutcome in the page is surfaced, by name, where an operator looks."""
    issue = {"severity": "error", "code": "structure"}
    outcome = {"resourceType": "OperationOutcome", "issue": [issue]}
    clinic.extra = [{"resource": outcome, "search": {"mode": "outcome"}}]
    report = turn(stage)
    assert report.num_outcomes == report.num_pages
    assert len(known(stage)) == 7
    assert set(stage.reasons()) == {"fhir.sender_outcome"}


def test_resources_without_a_stamp_are_taken_and_the_servers_clock_is_the_watermark(
    ehr: Ehr, stage: PullStage
) -> None:
    bundle = {"resourceType": "Bundle", "entry": [{"resource": observation("o1")}]}
    ehr.routes[SEARCH] = lambda _: answer(bundle, Date="Sun, 01 Mar 2026 12:00:00 GMT")
    report = turn(stage)
    assert Oddity.UNSTAMPED in report.oddities
    assert known(stage) == {"o1"}
    assert stage.watermark() == BEGINNING


def test_an_entry_that_is_spoilt_does_not_spoil_its_neighbours(ehr: Ehr, stage: PullStage) -> None:
    meta = {"lastUpdated": "2026-03-01T12:00:00Z"}
    entries: list[Any] = [17, {"resource": "x"}, {"resource": observation("o1", meta=meta)}]
    ehr.routes[SEARCH] = lambda _: answer({"resourceType": "Bundle", "entry": entries})
    turn(stage)
    assert known(stage) == {"o1"}
    assert len(stage.reasons()) == 2


def test_more_resources_of_one_stamp_than_a_page_holds_are_all_taken(
    clinic: Clinic, stage: PullStage
) -> None:
    for number in range(20):
        clinic.write(f"tied{number:02}")
    clinic.now += timedelta(seconds=1)
    clinic.write("after")
    turn(stage)
    assert len(known(stage)) == 28
    assert stage.watermark() == clinic.now


def _pages(*links: str) -> list[Reply]:
    made = []
    for number, link in enumerate(links):
        meta = {"lastUpdated": "2026-03-01T12:00:00Z"}
        bundle = {
            "resourceType": "Bundle",
            "link": [{"relation": "next", "url": link}],
            "entry": [{"resource": observation(f"o{number}", meta=meta)}],
        }
        made.append(answer(bundle))
    return made


def test_a_next_page_on_another_host_is_not_asked_for(ehr: Ehr, stage: PullStage) -> None:
    with Ehr() as elsewhere:
        ehr.routes[SEARCH] = in_turn(*_pages(f"{elsewhere.url}/Observation?page=2"))
        with pytest.raises(ForeignPageError):
            turn(stage)
        assert elsewhere.asked == []
    assert known(stage) == {"o0"}


def test_pages_that_lead_in_a_circle_are_left(ehr: Ehr, stage: PullStage) -> None:
    link = f"{ehr.url}/Observation?page=2"
    ehr.routes[SEARCH] = in_turn(*_pages(link, link))
    with pytest.raises(LoopingPagesError):
        turn(stage)
    assert stage.watermark() is None


def test_pages_that_come_again_under_ever_new_addresses_are_left(
    ehr: Ehr, stage: PullStage
) -> None:
    def search(asked: Asked) -> Reply:
        number = int(asked.query.get("page", ["1"])[0])
        meta = {"lastUpdated": "2026-03-01T12:00:00Z"}
        link = {"relation": "next", "url": f"{ehr.url}/Observation?page={number + 1}"}
        entry = {"resource": observation("o1", meta=meta)}
        return answer({"resourceType": "Bundle", "link": [link], "entry": [entry]})

    ehr.routes[SEARCH] = search
    with pytest.raises(LoopingPagesError):
        turn(stage)
    assert len(ehr.asked) == 3


def test_a_page_of_ten_thousand_entries_is_taken(
    engine: Engine, ehr: Ehr, clinic: Clinic, tmp_path: Path
) -> None:
    clinic.max_count = 10_000
    for number in range(9_993):
        clinic.write(f"n{number}")
    stage = pull_stage(engine, ehr, tmp_path, poll=Poll(types=("Observation",), page_size=10_000))
    report = turn(stage)
    assert (report.num_pages, report.num_resources) == (1, 10_000)
    assert len(stage.stage.bodies()) == 1
    assert len(known(stage)) == 10_000


def test_a_page_beyond_what_a_reader_opens_is_kept_and_stops_the_poll_by_name(
    engine: Engine, ehr: Ehr, tmp_path: Path
) -> None:
    meta = {"lastUpdated": "2026-03-01T12:00:00Z"}
    note = [{"text": "x" * 17 * 1024 * 1024}]
    entry = {"resource": observation("o1", meta=meta, note=note)}
    ehr.routes[SEARCH] = lambda _: answer({"resourceType": "Bundle", "entry": [entry]})
    stage = pull_stage(engine, ehr, tmp_path, poll=POLL, limits=Limits(timeout_seconds=10.0))
    with pytest.raises(PageTooLargeError):
        turn(stage)
    assert stage.watermark() is None
    stage.understand()
    assert stage.reasons() == ["fhir.too_large"]


def test_pages_wait_while_too_much_live_work_does(clinic: Clinic, stage: PullStage) -> None:
    crowded = [True, True, False]
    poller = stage.poller()
    poller = type(poller)(
        service=poller.service,
        asking=poller.asking,
        poll=poller.poll,
        clock=poller.clock,
        sleep=stage.sleep,
        is_crowded=lambda: crowded.pop(0) if len(crowded) > 1 else crowded[0],
    )
    assert poller.turn("Observation") is not None
    assert stage.slept == [1.0, 1.0]
