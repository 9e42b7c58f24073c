"""A bulk export against an EHR over HTTP: as it should go, and every way in which it can go wrong."""

import gzip
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.egress.errors import (
    ForeignAddressError,
    PeerRefusedError,
    PeerUnavailableError,
    UnreadableAnswerError,
)
from adapters.fhir.pulling.errors import ExpiredExportError, LoopingPagesError
from adapters.sites.peers import Limits
from adapters.sites.pulling import Bulk
from clinical.services.pulling import JobUnderWayError
from pipelines.pulling.bulk import GapError, NeverReadyError, NothingUnderWayError
from pipelines.pulling.errand import BulkReport
from tests.pipelines.importing_stage import ndjson, observation, patient
from tests.pipelines.pulling.ehr import Ehr, Export, Reply, answer, html, in_turn
from tests.pipelines.pulling.stage import TOKEN, PullStage, pull_stage

pytestmark = pytest.mark.integration

WEEK = str(7 * 24 * 3600)


@pytest.fixture
def ehr() -> Iterator[Ehr]:
    with Ehr() as running:
        yield running


@pytest.fixture
def stage(engine: Engine, ehr: Ehr, tmp_path: Path) -> PullStage:
    return pull_stage(engine, ehr, tmp_path)


def many(count: int) -> bytes:
    """So many lines, each of them small."""
    return ndjson(*(observation(f"o{number}") for number in range(count)))


def test_an_export_is_stored_line_by_line_and_then_ended(ehr: Ehr, stage: PullStage) -> None:
    export = Export(ehr)
    export.file("Patient.ndjson", ndjson(patient()))
    export.file("Observation.ndjson", many(2500))
    report = stage.pull().begin()
    assert (report.num_files, report.num_lines, report.state) == (2, 2501, "done")
    assert not report.miscounted
    kick_off = ehr.asked_for("/fhir/Patient/$export")[0]
    assert kick_off.headers["prefer"] == "respond-async"
    assert kick_off.headers["accept"] == "application/fhir+json"
    assert kick_off.query == {"_outputFormat": ["application/fhir+ndjson"]}
    assert ehr.asked_for(export.STATUS, "DELETE")
    stage.understand()
    assert len(stage.records()) == 2501
    (entry,) = stage.pulled()
    assert (entry["how"], entry["state"], entry["lines"]) == ("bulk", "done", "2501")


def test_the_next_export_asks_from_the_transaction_time_in_the_ehrs_own_words(
    ehr: Ehr, stage: PullStage
) -> None:
    Export(ehr).file("Patient.ndjson", ndjson(patient()))
    stage.pull().begin()
    stage.pull().begin()
    stage.pull().begin(since="")
    since = [each.query.get("_since") for each in ehr.asked_for("/fhir/Patient/$export")]
    assert since == [None, ["2026-03-01T10:00:00.123+01:00"], None]


def test_an_export_that_would_leave_a_gap_is_refused(ehr: Ehr, stage: PullStage) -> None:
    Export(ehr).file("Patient.ndjson", ndjson(patient()))
    stage.pull().begin(since="2026-01-01T00:00:00Z")
    with pytest.raises(GapError):
        stage.pull().begin(since="2026-03-01T09:00:00.124Z")
    assert stage.pull().begin(since="2026-03-01T09:00:00.123Z").state == "done"


def test_types_and_filters_make_a_scope_of_their_own(ehr: Ehr, stage: PullStage) -> None:
    Export(ehr).file("Patient.ndjson", ndjson(patient()))
    narrow = stage.pull()
    narrow = type(narrow)(
        errand=narrow.errand,
        scope=type(narrow.scope)(types=("Patient",), type_filters=("Patient?active=true",)),
    )
    narrow.begin()
    stage.pull().begin()
    first, second = ehr.asked_for("/fhir/Patient/$export")
    assert first.query["_type"] == ["Patient"]
    assert first.query["_typeFilter"] == ["Patient?active=true"]
    assert "_since" not in second.query


@pytest.mark.parametrize("broken_after", range(9))
def test_an_export_that_breaks_off_anywhere_goes_on_without_loss_or_double(
    ehr: Ehr, stage: PullStage, broken_after: int
) -> None:
    export = Export(ehr)
    export.file("Patient.ndjson", ndjson(patient()))
    path = export.file("Observation.ndjson", many(4200))
    times = itertools.count()

    def watch(_: BulkReport) -> None:
        if next(times) == broken_after:
            raise KeyboardInterrupt

    try:
        stage.pull(watch=watch).begin()
    except KeyboardInterrupt:
        with pytest.raises(JobUnderWayError):
            stage.pull().begin()
        stage.pull().resume()
        assert len(ehr.asked_for("/fhir/Patient/$export")) == 1
    assert stage.jobs() == ["done"]
    chunks = [body.count(b"\n") for body in stage.stage.bodies()]
    assert chunks == [1, 1000, 1000, 1000, 1000, 200]
    stage.understand()
    assert len(stage.records()) == 4201
    assert len(ehr.asked_for(path)) <= 2


def test_nothing_is_gone_on_with_where_nothing_is_under_way(stage: PullStage) -> None:
    with pytest.raises(NothingUnderWayError):
        stage.pull().resume()


def test_an_ehr_that_is_busy_is_left_alone_for_as_long_as_it_says(
    ehr: Ehr, stage: PullStage
) -> None:
    export = Export(ehr)
    path = export.file("Patient.ndjson", ndjson(patient()))
    busy = Reply(status=429, headers={"retry-after": "17"})
    begun = ehr.routes["GET /fhir/Patient/$export"]
    for where, good in (
        ("GET /fhir/Patient/$export", begun(None)),  # type: ignore[arg-type]
        (f"GET {export.STATUS}", export.manifest()),
        (f"GET {path}", Reply(body=ndjson(patient()))),
    ):
        ehr.routes[where] = in_turn(busy, busy, good)
    assert stage.pull().begin().state == "done"
    assert stage.slept == [17.0] * 6


def test_a_retry_after_of_a_week_is_capped_by_the_site(ehr: Ehr, stage: PullStage) -> None:
    export = Export(ehr)
    export.file("Patient.ndjson", ndjson(patient()))
    ehr.routes[f"GET {export.STATUS}"] = in_turn(
        Reply(status=429, headers={"retry-after": WEEK}),
        Reply(status=202, headers={"retry-after": WEEK}),
        export.manifest(),
    )
    assert stage.pull().begin().state == "done"
    assert stage.slept == [3600.0, 3600.0]


def test_progress_is_told_in_the_ehrs_words_without_what_cannot_be_printed(
    ehr: Ehr, stage: PullStage
) -> None:
    export = Export(ehr)
    export.file("Patient.ndjson", ndjson(patient()))
    ehr.routes[f"GET {export.STATUS}"] = in_turn(
        Reply(status=202, headers={"x-progress": "40% \x1b[2J done"}), export.manifest()
    )
    told: list[str] = []
    stage.pull(watch=lambda report: told.append(report.waiting_for)).begin()
    assert told[0] == "40% [2J done"


def test_an_ehr_that_is_never_ready_is_given_up_and_called_off(
    engine: Engine, ehr: Ehr, tmp_path: Path
) -> None:
    stage = pull_stage(engine, ehr, tmp_path, bulk=Bulk(max_wait_minutes=60.0))
    export = Export(ehr)
    ehr.routes[f"GET {export.STATUS}"] = lambda _: Reply(status=202)
    with pytest.raises(NeverReadyError):
        stage.pull().begin()
    assert stage.jobs() == ["failed"]
    assert ehr.asked_for(export.STATUS, "DELETE")
    assert sum(stage.slept) <= 3600
    assert max(stage.slept) <= 60


@pytest.mark.parametrize(
    "reply",
    [
        html(),
        answer([]),
        answer({"resourceType": "OperationOutcome"}),
        answer({"transactionTime": "yesterday", "output": []}),
        answer({"transactionTime": "2026-03-01T10:00:00", "output": []}),
        answer({"transactionTime": "2026-03-01T10:00:00Z", "output": [{"type": "Patient"}]}),
    ],
    ids=["html", "list", "outcome", "no time", "no zone", "no url"],
)
def test_what_is_no_manifest_is_named_and_the_export_can_be_gone_on_with(
    ehr: Ehr, stage: PullStage, reply: Reply
) -> None:
    export = Export(ehr)
    export.file("Patient.ndjson", ndjson(patient()))
    good = ehr.routes[f"GET {export.STATUS}"]
    ehr.routes[f"GET {export.STATUS}"] = lambda _: reply
    with pytest.raises((UnreadableAnswerError, PeerUnavailableError)):
        stage.pull().begin()
    assert stage.jobs() == ["running"]
    ehr.routes[f"GET {export.STATUS}"] = good
    stage.clock.advance(stage.site.max_pause)  # the circuit breaker's pause is over
    assert stage.pull().resume().state == "done"


@pytest.mark.parametrize("reply", [html(), Reply(status=202)], ids=["html", "nowhere"])
def test_a_kick_off_that_leads_nowhere_is_named(ehr: Ehr, stage: PullStage, reply: Reply) -> None:
    ehr.routes["GET /fhir/Patient/$export"] = lambda _: reply
    with pytest.raises(UnreadableAnswerError):
        stage.pull().begin()
    assert stage.jobs() == []


def test_a_status_on_a_host_that_nobody_registered_is_refused(ehr: Ehr, stage: PullStage) -> None:
    with Ehr() as elsewhere:
        where = {"content-location": f"{elsewhere.root}/status"}
        ehr.routes["GET /fhir/Patient/$export"] = lambda _: Reply(status=202, headers=where)
        with pytest.raises(ForeignAddressError):
            stage.pull().begin()
        assert elsewhere.asked == []


def test_a_job_that_the_ehr_refuses_has_failed(ehr: Ehr, stage: PullStage) -> None:
    export = Export(ehr)
    ehr.routes[f"GET {export.STATUS}"] = lambda _: answer({}, status=400)
    with pytest.raises(PeerRefusedError):
        stage.pull().begin()
    assert stage.jobs() == ["failed"]


@pytest.mark.parametrize("needs_token", [True, False])
def test_the_token_goes_with_files_only_where_the_manifest_says_so(
    ehr: Ehr, stage: PullStage, needs_token: bool
) -> None:
    path = Export(ehr, needs_token=needs_token).file("Patient.ndjson", ndjson(patient()))
    stage.pull().begin()
    (asked,) = ehr.asked_for(path)
    assert asked.headers.get("authorization") == (TOKEN if needs_token else None)


def test_a_file_on_a_host_that_nobody_registered_is_refused_and_nothing_is_sent_there(
    engine: Engine, ehr: Ehr, tmp_path: Path
) -> None:
    with Ehr() as elsewhere:
        elsewhere.routes["GET /p.ndjson"] = lambda _: Reply(body=ndjson(patient()))
        export = Export(ehr, needs_token=True)
        export.output.append({"type": "Patient", "url": f"{elsewhere.root}/p.ndjson"})
        stage = pull_stage(engine, ehr, tmp_path)
        with pytest.raises(ForeignAddressError):
            stage.pull().begin()
        assert elsewhere.asked == []
        registered = pull_stage(engine, ehr, tmp_path, also=(elsewhere.root,))
        assert registered.pull().resume().num_lines == 1


def test_a_redirect_to_another_host_is_not_followed(ehr: Ehr, stage: PullStage) -> None:
    with Ehr() as elsewhere:
        export = Export(ehr, needs_token=True)
        path = export.file("Patient.ndjson", ndjson(patient()))
        to = {"location": f"{elsewhere.root}/p.ndjson"}
        ehr.routes[f"GET {path}"] = lambda _: Reply(status=302, headers=to)
        with pytest.raises(PeerRefusedError):
            stage.pull().begin()
        assert elsewhere.asked == []


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_gone_leads_to_a_new_export_of_the_same_time(
    ehr: Ehr, stage: PullStage, status: int
) -> None:
    export = Export(ehr)
    export.file("Patient.ndjson", ndjson(patient()))
    path = export.file("Observation.ndjson", many(3))
    good = Reply(body=many(3))
    ehr.routes[f"GET {path}"] = in_turn(Reply(status=status), good)
    report = stage.pull().begin(since="2026-01-01T00:00:00Z")
    assert (report.num_restarts, report.state) == (1, "done")
    assert stage.jobs() == ["expired", "done"]
    since = [each.query["_since"] for each in ehr.asked_for("/fhir/Patient/$export")]
    assert since == [["2026-01-01T00:00:00Z"]] * 2
    stage.understand()
    assert len(stage.records()) == 4


def test_files_that_are_always_gone_end_by_name(ehr: Ehr, stage: PullStage) -> None:
    export = Export(ehr)
    path = export.file("Patient.ndjson", ndjson(patient()))
    ehr.routes[f"GET {path}"] = lambda _: Reply(status=410)
    with pytest.raises(ExpiredExportError):
        stage.pull().begin()
    assert stage.jobs() == ["expired", "expired"]


def test_a_refusal_after_the_time_that_expires_said_is_an_expired_file(
    ehr: Ehr, stage: PullStage
) -> None:
    """Stores of files answer 403, not 404, for an address whose signature is too old."""
    export = Export(ehr)
    export.headers = {"expires": "Thu, 01 Jan 2026 00:00:00 GMT"}
    path = export.file("Patient.ndjson", ndjson(patient()))
    ehr.routes[f"GET {path}"] = in_turn(Reply(status=403), Reply(body=ndjson(patient())))
    assert stage.pull().begin().num_restarts == 1


def test_a_connection_that_breaks_in_a_file_goes_on_behind_what_is_stored(
    ehr: Ehr, stage: PullStage
) -> None:
    whole = many(3000)
    export = Export(ehr)
    path = export.file("Observation.ndjson", whole)
    cut = Reply(body=whole[: len(whole) * 2 // 3], length=len(whole))
    ehr.routes[f"GET {path}"] = in_turn(cut, Reply(body=whole))
    report = stage.pull().begin()
    assert (report.state, report.num_lines) == ("done", 3000)
    assert len(stage.stage.bodies()) == 3
    stage.understand()
    assert len(stage.records()) == 3000


def test_a_file_with_fewer_lines_than_was_said_is_told_and_asked_for_again_next_time(
    ehr: Ehr, stage: PullStage
) -> None:
    whole = many(3)
    export = Export(ehr)
    path = export.file("Observation.ndjson", whole)
    ehr.routes[f"GET {path}"] = lambda _: Reply(body=whole[: len(whole) // 2])
    report = stage.pull().begin()
    assert report.state == "short"
    assert report.miscounted == [("Observation", 3, 2)]
    stage.understand()
    assert stage.reasons() == ["fhir.not_json"]  # the line in which it broke off
    ehr.routes[f"GET {path}"] = lambda _: Reply(body=whole)
    assert stage.pull().begin().state == "done"
    assert ["_since" in each.query for each in ehr.asked_for("/fhir/Patient/$export")] == [
        False
    ] * 2
    stage.understand()
    assert len(stage.records()) == 3


def test_a_file_with_more_lines_than_was_said_is_told(ehr: Ehr, stage: PullStage) -> None:
    Export(ehr).file("Observation.ndjson", many(3), count=2)
    report = stage.pull().begin()
    assert (report.state, report.miscounted) == ("done", [("Observation", 2, 3)])


def test_a_file_that_changed_meanwhile_is_read_from_its_first_line(
    ehr: Ehr, stage: PullStage
) -> None:
    before, after = many(2500), ndjson(patient()) + many(2600)
    export = Export(ehr)
    path = export.file("Observation.ndjson", before, count=2601)
    cut = Reply(body=before[:-10], length=len(before))
    ehr.routes[f"GET {path}"] = in_turn(cut, Reply(body=after))
    report = stage.pull().begin()
    assert (report.num_changed_files, report.state) == (1, "done")
    stage.understand()
    assert len(stage.records()) == 2601


def test_a_file_that_shrank_below_what_is_stored_is_read_from_its_first_line(
    ehr: Ehr, stage: PullStage
) -> None:
    before, after = many(2500), many(700)
    export = Export(ehr)
    path = export.file("Observation.ndjson", before, count=700)
    cut = Reply(body=before[:-10], length=len(before))
    ehr.routes[f"GET {path}"] = in_turn(cut, Reply(body=after))
    assert stage.pull().begin().num_changed_files == 1


@pytest.mark.parametrize("encoded", [True, False], ids=["content-encoding", "gzip file"])
def test_gzip_is_opened_by_whatever_way_it_comes(ehr: Ehr, stage: PullStage, encoded: bool) -> None:
    export = Export(ehr)
    path = export.file("Observation.ndjson", many(1500))
    headers = {"content-encoding": "gzip"} if encoded else {}
    packed = gzip.compress(many(1500))
    ehr.routes[f"GET {path}"] = lambda _: Reply(body=packed, headers=headers)
    assert stage.pull().begin().state == "done"
    assert b"".join(stage.stage.bodies()) == many(1500)


def test_deletions_and_complaints_are_delivered_with_the_rest(ehr: Ehr, stage: PullStage) -> None:
    deletion = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"request": {"method": "DELETE", "url": "Observation/o1"}}],
    }
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "exception"}],
    }
    export = Export(ehr)
    export.file("Observation.ndjson", many(2))
    export.file("Bundle.ndjson", ndjson(deletion), kind="deleted")
    export.file("OperationOutcome.ndjson", ndjson(outcome), kind="error")
    report = stage.pull().begin()
    assert (report.num_files, report.num_outcomes) == (3, 1)
    assert ndjson(deletion) in stage.stage.bodies()
    stage.understand()
    assert "fhir.sender_outcome" in stage.reasons()
    # The same record may be deleted again, in the same words, by a later export.
    export.transaction_time = "2026-03-02T10:00:00Z"
    assert stage.pull().begin().num_new_lines == 2


def test_a_manifest_of_several_pages_is_read_to_its_end(ehr: Ehr, stage: PullStage) -> None:
    export = Export(ehr)
    export.file("Patient.ndjson", ndjson(patient()))
    first = json.loads(export.manifest().body)
    export.output.clear()
    export.file("Observation.ndjson", many(3))
    second = json.loads(export.manifest().body)
    first["link"] = [{"relation": "next", "url": "status/2"}]
    ehr.routes[f"GET {export.STATUS}"] = lambda _: answer(first)
    ehr.routes["GET /fhir/status/2"] = in_turn(Reply(status=202), answer(second))
    assert stage.pull().begin().num_lines == 4


def test_pages_of_a_manifest_that_lead_in_a_circle_are_left(ehr: Ehr, stage: PullStage) -> None:
    export = Export(ehr)
    export.link = [{"relation": "next", "url": f"{ehr.root}{export.STATUS}"}]
    with pytest.raises(LoopingPagesError):
        stage.pull().begin()


def _drip(forever: bytes) -> Iterator[bytes]:
    for _ in range(200):
        time.sleep(0.05)
        yield forever


def test_an_ehr_that_says_nothing_is_left_after_the_sites_timeout(
    engine: Engine, ehr: Ehr, tmp_path: Path
) -> None:
    stage = pull_stage(engine, ehr, tmp_path, limits=Limits(timeout_seconds=0.2))

    def silent(_: Any) -> Reply:
        time.sleep(1.0)
        return Reply()

    ehr.routes["GET /fhir/Patient/$export"] = silent
    with pytest.raises(PeerUnavailableError):
        stage.pull().begin()


def test_a_file_that_drips_without_end_is_left(engine: Engine, ehr: Ehr, tmp_path: Path) -> None:
    bulk = Bulk(max_file_minutes=0.2 / 60)
    stage = pull_stage(engine, ehr, tmp_path, bulk=bulk)
    export = Export(ehr)
    path = export.file("Observation.ndjson", many(1))
    ehr.routes[f"GET {path}"] = lambda _: Reply(pieces=_drip(b" "), length=10**6)
    with pytest.raises(PeerUnavailableError):
        stage.pull().begin()
    assert stage.jobs() == ["listed"]


def test_an_export_can_be_called_off(ehr: Ehr, stage: PullStage) -> None:
    export = Export(ehr)
    ehr.routes[f"GET {export.STATUS}"] = lambda _: Reply(status=401)
    with pytest.raises(PeerRefusedError):
        stage.pull().begin()
    assert stage.jobs() == ["running"]  # our credentials are wrong: the job may be well
    stage.pull().call_off()
    assert stage.jobs() == ["failed"]
    assert ehr.asked_for(export.STATUS, "DELETE")
