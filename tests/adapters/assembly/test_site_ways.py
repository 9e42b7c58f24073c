"""What the sites file says of a site reaches the readers of every FHIR door."""

import json
from pathlib import Path

import pytest

from adapters.assembly.sites import sites
from adapters.assembly.worker import readers
from adapters.settings import Settings
from adapters.sites.code_map import MalformedCodeMapError
from clinical.services.delivery import Door
from tests.adapters.fhir.records import concept, delivery, observation

LOCAL = "http://hospital.example/codes"


def settings(folder: Path, rows: str) -> Settings:
    (folder / "codes.csv").write_text(f"system,code,to_system,to_code,to_display\n{rows}", "utf-8")
    sites = folder / "sites.toml"
    sites.write_text(
        "[sites.north]\n"
        'code_map = "codes.csv"\n'
        '[sites.north.fhir]\nbase_url = "https://ehr.example/fhir"\n',
        "utf-8",
    )
    return Settings(sites_file=sites)


@pytest.mark.parametrize("door", [Door.FHIR, Door.FHIR_FETCHED, Door.FHIR_BULK])
def test_every_fhir_door_knows_the_codes_and_the_addresses_of_the_site(
    tmp_path: Path, door: Door
) -> None:
    known = sites(settings(tmp_path, f"{LOCAL},GLU,LOINC,2339-0,\n"))
    reader = readers(known)[door]
    local = observation(code=concept(LOCAL, "GLU"))
    (event,) = reader.read(delivery(json.dumps(local).encode(), door=door)).events
    assert event.code.key == "LOINC|2339-0"
    foreign = observation(subject={"reference": "https://elsewhere.example/fhir/Patient/p1"})
    (refused,) = reader.read(delivery(json.dumps(foreign).encode(), door=door)).quarantined
    assert refused.reason_code == "fhir.foreign_reference"


def test_a_bad_map_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(MalformedCodeMapError, match=r"codes\.csv, line 2"):
        sites(settings(tmp_path, "nonsense\n"))
