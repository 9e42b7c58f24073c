"""J7: from a subscription at an EHR that we did not write to a prediction owed, and nothing lost by being away."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from adapters.clock import SystemClock
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.egress.keys import KeyRing
from clinical.services.ports import OpenUnitOfWork
from clinical.subscription.notification import Standing
from clinical.subscription.plan import subscription_id_of
from clinical.subscription.state import SubscriptionState
from clinical.timeline.event import EventKind
from clinical.timeline.patient import PatientRef
from tests.hospital import CLIENT_ID, Hospital, hospital, topic
from tests.journeys.bundles import observation, patient
from tests.stack import CLINICAL, free_ports, up, wait_until

pytestmark = pytest.mark.integration

SITE, NAME = "harbour", "labs"
TOPIC = "http://sekmet.dev/fhir/SubscriptionTopic/observation-changed"
SITES = """
[sites.harbour.fhir]
base_url = "{url}"
auth = {{ kind = "smart_backend", client_id = "{client_id}", scopes = ["system/*.*"] }}

[sites.harbour.subscriptions.labs]
topic = "{topic}"
content = "{content}"
queries = ["Observation"]
proof = {{ kind = "header", values = ["Bearer {token}"] }}
heartbeat_seconds = 2
patience_seconds = 1
query_pause_seconds = 1
query_overlap_seconds = 5
read_pause_seconds = 0.5
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A hospital, and what is needed to run our service beside it."""

    folder: Path
    ehr: Hospital
    settings: dict[str, str]

    def command(self, *arguments: str) -> str:
        environment = {
            "PATH": os.defpath,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(self.folder),
            "COLUMNS": "200",
            "CLINICAL_DATA_DIR": str(self.folder / "data"),
            **self.settings,
        }
        done = subprocess.run(
            [*CLINICAL, *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Our service while it runs."""

    engine: Engine
    open_unit_of_work: OpenUnitOfWork

    def state(self) -> SubscriptionState | None:
        with self.open_unit_of_work() as uow:
            return uow.subscriptions.find(subscription_id_of(SITE, NAME))

    def observations(self, patient_id: str) -> set[str]:
        """The ids of the observations that are on the patient's timeline."""
        with self.open_unit_of_work() as uow:
            events = uow.timelines.of(PatientRef(SITE, patient_id).patient_id).events
        return {e.source.record_id for e in events if e.kind is EventKind.OBSERVATION}

    def num_predictions_owed(self, patient_id: str) -> int:
        """How many predictions of the patient were ever owed."""
        query = text("SELECT count(*) FROM messages WHERE kind = :kind AND subject_id = :id")
        wanted = {"kind": "prediction.make", "id": PatientRef(SITE, patient_id).patient_id}
        with self.engine.connect() as connection:
            return int(connection.scalar(query, wanted) or 0)


@contextmanager
def a_place(folder: Path, content: str) -> Iterator[Place]:
    (web_port,) = free_ports(1)
    keys = KeyRing(folder / "data" / "secrets" / "signing_keys", SystemClock())
    keys.ensure("RS384")
    with hospital(folder / "ehr", {"keys": keys.public()}) as ehr:
        sites = folder / "sites.toml"
        sites.write_text(
            SITES.format(
                url=ehr.url, client_id=CLIENT_ID, topic=TOPIC, content=content, token=uuid4().hex
            )
        )
        settings = {
            "CLINICAL_SITES_FILE": str(sites),
            "CLINICAL_WEB_PORT": str(web_port),
            "CLINICAL_PUBLIC_URL": f"http://127.0.0.1:{web_port}",
        }
        yield Place(folder=folder, ehr=ehr, settings=settings)


@contextmanager
def serving(place: Place) -> Iterator[Serving]:
    with up(place.folder, place.settings) as (started, _):
        with EmbeddedPostgres(place.folder / "data" / "postgres") as server:
            engine = create_engine(server.url)
            yield Serving(engine=engine, open_unit_of_work=unit_of_work_factory(engine))
            engine.dispose()
        assert started.stop() == 0


def _is_active(site: Serving) -> bool:
    state = site.state()
    return state is not None and state.standing is Standing.ACTIVE


@pytest.mark.parametrize("content", ["full-resource", "id-only"])
def test_what_an_ehr_notifies_becomes_events_and_a_prediction_is_owed_and_what_it_could_not_is_got_back(
    tmp_path: Path, content: str
) -> None:
    with a_place(tmp_path, content) as place:
        place.ehr.put(topic(TOPIC, "Observation"))
        place.ehr.put(patient("p1"))
        with serving(place) as site:
            said = place.command("subscribe", "create", SITE)
            assert "is made" in said
            wait_until(lambda: _is_active(site))
            again = place.command("subscribe", "create", SITE, NAME)
            assert "was there" in again
            wait_until(lambda: _is_active(site))

            place.ehr.put(observation("o1", "p1"))

            wait_until(lambda: site.observations("p1") == {"o1"})
            assert site.num_predictions_owed("p1") >= 1
            shown = place.command("subscribe", "list")
            assert NAME in shown
            assert "active" in shown

        for number in range(2, 7):  # nobody is there to be told
            place.ehr.put(observation(f"o{number}", "p1"))

        with serving(place) as site:
            wanted = {f"o{number}" for number in range(1, 7)}
            wait_until(lambda: site.observations("p1") == wanted)
            wait_until(lambda: _is_active(site))
            state = site.state()
            assert state is not None
            assert state.count.gaps == ()
            place.ehr.put(observation("o7", "p1"))
            wait_until(lambda: "o7" in site.observations("p1"))
            removed = place.command("subscribe", "remove", SITE, NAME)
            assert "removed" in removed
            held = place.ehr.get("Subscription")
            assert json.dumps(held).count('"resourceType": "Subscription"') == 0
