"""The sites file: what it may say, and how what it may not say is told."""

import re
from pathlib import Path

import pytest

from adapters.sites.file import MalformedSitesFileError, read_sites
from adapters.sites.peers import HeaderToken, SmartBackend
from adapters.sites.secret import Secret

WHOLE = """
[sites.ward]
webhook_secrets = ["whsec_AAAA", "file:second"]

[sites.ward.fhir]
base_url = "https://ehr.example/fhir"
also = ["https://files.ehr.example"]
auth = {kind = "smart_backend", client_id = "us", scopes = ["system/*.rs"]}
limits = {timeout_seconds = 5.0}

[sites.ward.write_back]
is_on = true
resources = ["RiskAssessment", "Task"]

[sites.clinic.fhir]
base_url = "https://other.example/r4"
auth = {kind = "header", name = "Authorization", value = "Basic x"}
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "sites.toml"
    path.write_text(text)
    return path


def test_several_ehrs_stand_in_one_file_each_with_its_own(tmp_path: Path) -> None:
    (tmp_path / "second").write_text("whsec_BBBB\n")
    sites = read_sites(_written(tmp_path, WHOLE))
    ward, clinic = sites["ward"], sites["clinic"]
    assert ward.webhook_secrets == (Secret("whsec_AAAA"), Secret("whsec_BBBB"))
    assert ward.fhir is not None
    assert clinic.fhir is not None
    assert isinstance(ward.fhir.auth, SmartBackend)
    assert clinic.fhir.auth == HeaderToken(name="Authorization", value=Secret("Basic x"))
    assert ward.fhir.limits.timeout_seconds == 5.0
    assert ward.write_back.is_on
    assert not clinic.write_back.is_on


def test_a_secret_does_not_print_itself(tmp_path: Path) -> None:
    (tmp_path / "second").write_text("whsec_BBBB\n")
    printed = repr(read_sites(_written(tmp_path, WHOLE)))
    assert "whsec_" not in printed
    assert "Basic" not in printed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[sites.ward.fhir]\n", "sites[...].fhir"),
        ("[sites.ward.fhir]\nbase_url = 7\n", "base_url"),
        ("[sites.ward]\nwebhook_secret = []\n", "webhook_secret"),
        ("[site.ward]\n", "site"),
        ('[sites.ward]\nwebhook_secrets = ["file:nowhere"]\n', "nowhere"),
        ("[sites.ward.write_back]\nresources = []\n", "resources"),
        ('[sites.ward.write_back]\nresources = ["Observation"]\n', "Observation"),
        ("[sites.ward.write_back]\nflag_at = 20\n", "flag_at"),
        ('[sites."a/b"]\n', "name of a site"),
        ("[sites.ward\n", "no TOML"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(MalformedSitesFileError, match=None) as raised:
        read_sites(_written(tmp_path, text))
    assert told in str(raised.value)


def test_a_file_that_is_not_there_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(MalformedSitesFileError):
        read_sites(tmp_path / "none.toml")


def test_the_example_in_the_documentation_is_read(tmp_path: Path) -> None:
    """Every secret that it keeps in a file is put there first."""
    example = Path(__file__).parents[3] / "docs" / "sites.example.toml"
    text = example.read_text()
    for name in re.findall(r'"file:([^"]+)"', text):
        (tmp_path / name).write_text("secret")
    assert read_sites(_written(tmp_path, text))
