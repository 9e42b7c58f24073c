"""`clinical pull`: what it says when it went well, and when not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from tests.pipelines.importing_stage import ndjson, observation, patient
from tests.pipelines.pulling.ehr import Ehr, Export, Reply, answer

pytestmark = pytest.mark.integration

run = CliRunner()


@pytest.fixture
def ehr(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ehr]:
    """The EHR of the site `north`."""
    monkeypatch.setenv("CLINICAL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CLINICAL_DATABASE_URL", database_url)
    monkeypatch.setenv("CLINICAL_SITES_FILE", str(tmp_path / "sites.toml"))
    with Ehr() as running:
        stated = f'[sites.north.fhir]\nbase_url = "{running.url}"\n[sites.north.bulk]\n'
        stated += 'types = ["Patient", "Observation"]\n'
        stated += '[sites.north.poll]\ntypes = ["Observation"]\npage_size = 1000\n'
        (tmp_path / "sites.toml").write_text(stated)
        yield running


def _pull(*arguments: str) -> tuple[int, str]:
    done = run.invoke(app, ["pull", *arguments])
    return done.exit_code, done.output


def test_a_bulk_export_says_what_came_and_what_did_not_agree(ehr: Ehr) -> None:
    export = Export(ehr)
    export.file("Patient.ndjson", ndjson(patient()))
    export.file("Observation.ndjson", ndjson(observation("o1")), count=2)
    code, said = _pull("bulk", "north")
    assert code == 0
    assert "2 of 2 files, 2 lines, 2 of them new" in said
    assert "Observation: the EHR had said 2 lines, and sent 1." in said
    assert "Lines are missing" in said
    (asked,) = ehr.asked_for("/fhir/Patient/$export")
    assert asked.query["_type"] == ["Observation,Patient"]


def test_the_options_choose_what_is_exported(ehr: Ehr) -> None:
    Export(ehr).file("Patient.ndjson", ndjson(patient()))
    begun = ehr.routes["GET /fhir/Patient/$export"]
    ehr.routes["GET /fhir/$export"] = ehr.routes["GET /fhir/Group/g1/$export"] = begun
    assert _pull("bulk", "north", "--system", "--types", "Patient")[0] == 0
    assert _pull("bulk", "north", "--group", "g1", "--since", "2026-01-01T00:00:00Z")[0] == 0
    assert ehr.asked_for("/fhir/$export")[0].query["_type"] == ["Patient"]
    assert ehr.asked_for("/fhir/Group/g1/$export")[0].query["_since"] == ["2026-01-01T00:00:00Z"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--full", "--resume"),
        ("--since", "yesterday"),
        ("--since", "2026-01-01T00:00:00"),
        ("--group", "g/../1"),
        ("--group", "g1", "--system"),
    ],
)
def test_what_contradicts_itself_is_not_asked(ehr: Ehr, arguments: tuple[str, ...]) -> None:
    assert _pull("bulk", "north", *arguments)[0] == 2
    assert ehr.asked == []


def test_an_export_that_broke_off_is_told_by_name_and_gone_on_with(ehr: Ehr) -> None:
    export = Export(ehr)
    ready = ehr.routes[f"GET {export.STATUS}"]
    ehr.routes[f"GET {export.STATUS}"] = lambda _: Reply(status=401)
    code, said = _pull("bulk", "north")
    assert (code, "peer.refused" in said) == (1, True)
    assert "pull.under_way" in _pull("bulk", "north")[1]
    ehr.routes[f"GET {export.STATUS}"] = ready
    assert _pull("bulk", "north", "--resume")[0] == 0
    assert "pull.nothing_under_way" in _pull("bulk", "north", "--resume")[1]
    assert _pull("bulk", "north", "--call-off") == (0, "Called off.\n")


def test_a_patient_and_a_poll_say_what_came(ehr: Ehr) -> None:
    bundle = {"resourceType": "Bundle", "entry": [{"resource": patient()}]}
    ehr.routes["GET /fhir/Patient/p1/$everything"] = lambda _: answer(bundle)
    assert _pull("patient", "north", "p1") == (0, "1 pages, 1 of them new.\n")
    ehr.routes["GET /fhir/Observation"] = lambda _: answer({"resourceType": "Bundle"})
    code, said = _pull("poll", "north")
    assert code == 0
    assert "Observation: 0 resources on 1 pages" in said
    assert "no_self_link" in said


def test_a_site_that_nobody_described_is_named(ehr: Ehr) -> None:
    code, said = _pull("patient", "south", "p1")
    assert (code, "pull.nothing_to_ask" in said) == (1, True)
