"""Against an EHR that nobody here wrote: sekmet-fhir with SMART Backend Services turned on."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import Engine

from adapters.assembly.asking import pulled_site
from adapters.clock import SystemClock
from adapters.egress.errors import PeerRefusedError
from adapters.egress.keys import KeyRing
from adapters.fhir.pulling.bulk import Level, Scope
from adapters.sites.peers import Fhir, SmartBackend
from adapters.sites.pulling import Poll
from adapters.sites.site import Site
from clinical.services.pulling import PullingService
from pipelines.pulling.patient import pull_patient
from tests.fakes import SettableClock
from tests.pipelines.importing_stage import observation, patient, stage_on
from tests.pipelines.pulling.stage import SITE, PullStage
from tests.sekmet import sekmet

pytestmark = pytest.mark.integration

_SEED = {"Authorization": "Bearer seed"}


@dataclass(frozen=True, kw_only=True)
class Sekmet:
    """A running server, and the keys that it knows us by."""

    url: str
    keys: KeyRing

    def put(self, resource: dict[str, object]) -> None:
        where = f"{self.url}/{resource['resourceType']}/{resource['id']}"
        httpx.put(where, json=resource, headers=_SEED).raise_for_status()


@pytest.fixture(scope="module")
def ehr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sekmet]:
    """Two patients with three observations each, and a group of the first."""
    folder = tmp_path_factory.mktemp("sekmet")
    keys = KeyRing(folder / "ours", SystemClock())
    keys.ensure("RS384")
    client = {"client_id": "jepa", "jwks": {"keys": keys.public()}, "scopes": "system/*.read"}
    auth = {"types": ["smart", "bearer"], "tokens": ["seed"], "smart_clients": [client]}
    simulator = {"enabled": False, "delay_seconds": 0.5}
    with sekmet(folder, server_auth=auth, simulator=simulator) as url:
        running = Sekmet(url=url, keys=keys)
        for who in ("p1", "p2"):
            running.put(patient(who))
            for number in range(3):
                subject = {"reference": f"Patient/{who}"}
                running.put(observation(f"{who}-o{number}", subject=subject))
        member = [{"entity": {"reference": "Patient/p1"}}]
        running.put(
            {
                "resourceType": "Group",
                "id": "g1",
                "type": "person",
                "actual": True,
                "member": member,
            }
        )
        yield running


@pytest.fixture
def stage(engine: Engine, ehr: Sekmet) -> Iterator[PullStage]:
    """Our client, as the server knows it."""
    made = stage_of(engine, ehr)
    with closing(made.site):
        yield made


def stage_of(engine: Engine, ehr: Sekmet, *, client_id: str = "jepa") -> PullStage:
    """Our client, as the server knows it."""
    stage = stage_on(engine)
    clock = SettableClock(SystemClock().now())
    auth = SmartBackend(client_id=client_id, scopes=("system/*.read",))
    stated = Site(
        fhir=Fhir(base_url=ehr.url, auth=auth), poll=Poll(types=("Observation",), page_size=2)
    )
    identities = stage.intake.identities
    return PullStage(
        stage=stage,
        site=pulled_site(SITE, stated, ehr.keys, clock, identities),
        service=PullingService(
            open_unit_of_work=stage.open_unit_of_work,
            clock=clock,
            identities=identities,
            receive=stage.intake.receive,
        ),
        clock=clock,
    )


def _really_sleep(stage: PullStage) -> None:
    def sleep(seconds: float) -> None:
        stage.slept.append(seconds)
        stage.clock.advance(timedelta(seconds=seconds))
        time.sleep(seconds)

    stage.sleep = sleep  # type: ignore[method-assign]


def test_its_export_is_taken_with_a_token_and_its_progress_heeded(stage: PullStage) -> None:
    _really_sleep(stage)
    told: list[str] = []
    report = stage.pull(watch=lambda now: told.append(now.waiting_for)).begin()
    assert report.state == "done"
    assert not report.miscounted
    assert any(told)
    stage.understand()
    assert {record_id for _, record_id, _ in stage.records()} == {
        "p1", "p2", *(f"{who}-o{number}" for who in ("p1", "p2") for number in range(3))
    }  # fmt: skip
    assert stage.pull().begin().num_lines == 0  # nothing changed since its transaction time


def test_its_export_of_a_group_and_of_types_is_of_these_alone(stage: PullStage) -> None:
    _really_sleep(stage)
    stage.pull(scope=Scope(level=Level.GROUP, group="g1", types=("Observation",))).begin()
    stage.understand()
    assert {record_id for _, record_id, _ in stage.records()} == {"p1-o0", "p1-o1", "p1-o2"}


def test_a_client_that_it_does_not_know_is_refused_by_name(engine: Engine, ehr: Sekmet) -> None:
    stage = stage_of(engine, ehr, client_id="somebody")
    with closing(stage.site), pytest.raises(PeerRefusedError):
        stage.pull().begin()
    assert stage.jobs() == []


def test_everything_of_a_patient_is_of_that_patient(stage: PullStage) -> None:
    pull_patient(stage.service, stage.site.asking, "p1", clock=stage.clock, actor="anna")
    stage.understand()
    assert {record_id for _, record_id, _ in stage.records()} == {"p1", "p1-o0", "p1-o1", "p1-o2"}
    with pytest.raises(PeerRefusedError):
        pull_patient(stage.service, stage.site.asking, "p9", clock=stage.clock, actor="anna")


def test_what_changed_there_is_found_by_polling(stage: PullStage, ehr: Sekmet) -> None:
    first = stage.poller().turn("Observation", is_due=False)
    assert first is not None
    stage.understand()
    assert len(stage.records()) == 6
    ehr.put(observation("p1-o0", status="amended"))
    again = stage.poller().turn("Observation", is_due=False)
    assert again is not None
    stage.understand()
    assert len(stage.records()) == 7
