"""One running site for all journeys: the real processes, as `clinical up` starts them."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from adapters.db.clinicians import Clinicians
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from clinical.services.ports import OpenUnitOfWork
from clinical.timeline.patient import PatientRef
from pipelines.samples import demo_bundles
from tests.journeys.ehr import Ehr
from tests.journeys.visitor import Clinician, deliver
from tests.sites import write_sites_file
from tests.stack import Started, free_ports, up, wait_until

SITE = "ward"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PASSWORD = "a-long-enough-password"

MakePatient = Callable[[], UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The site of these tests, from outside and from its database."""

    started: Started
    web_url: str
    model_url: str
    database_url: str
    open_unit_of_work: OpenUnitOfWork
    ehr: Ehr
    folder: Path

    def num_waiting(self) -> int:
        with self.open_unit_of_work() as uow:
            return uow.outbox.pending()


@pytest.fixture(scope="session")
def ehr() -> Iterator[Ehr]:
    with Ehr() as peer:
        yield peer


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, ehr: Ehr) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("site")
    model_port = free_ports(1)[0]
    settings = {
        "CLINICAL_MODEL_PORT": str(model_port),
        "CLINICAL_WEBHOOK_SECRETS": json.dumps({SITE: [SECRET]}),
        "CLINICAL_SITES_FILE": str(write_sites_file(folder, SITE, ehr.url)),
    }
    with up(folder, settings) as (started, web_url):
        with EmbeddedPostgres(folder / "data" / "postgres") as server:
            engine = create_engine(server.url)
            for name in ("dr-adams", "dr-baker"):
                Clinicians(engine).add(name, name.title(), PASSWORD, "clinician")
            yield Running(
                started=started,
                web_url=web_url,
                model_url=f"http://127.0.0.1:{model_port}",
                database_url=server.url,
                open_unit_of_work=unit_of_work_factory(engine),
                ehr=ehr,
                folder=folder,
            )
            engine.dispose()
        assert started.stop() == 0
        assert started.wait_until_none_is_alive(seconds=5) == []


@pytest.fixture(scope="session")
def adams(site: Running) -> Iterator[Clinician]:
    clinician = Clinician(site.web_url, "dr-adams", PASSWORD)
    yield clinician
    clinician.close()


@pytest.fixture(scope="session")
def baker(site: Running) -> Iterator[Clinician]:
    clinician = Clinician(site.web_url, "dr-baker", PASSWORD)
    yield clinician
    clinician.close()


@pytest.fixture(scope="session")
def make_patient(site: Running) -> MakePatient:
    """Delivers a sample patient of whom no death is recorded, and waits for the prediction."""
    smallest_first = sorted((body for _, body in demo_bundles()), key=len)
    alive = iter([body for body in smallest_first if b'"deceasedDateTime"' not in body])

    def make() -> UUID:
        body = next(alive)
        assert deliver(site.web_url, SITE, SECRET, body).status_code == 202
        wait_until(lambda: not site.num_waiting())
        entries = json.loads(body)["entry"]
        resources = [entry["resource"] for entry in entries]
        (record_id,) = [each["id"] for each in resources if each["resourceType"] == "Patient"]
        return PatientRef(SITE, record_id).patient_id

    return make


@pytest.fixture(scope="session")
def sample_patient(make_patient: MakePatient) -> UUID:
    """A patient whose review nobody has touched."""
    return make_patient()
