"""`clinical site` and `clinical keys`: what works with a site and what does not, in words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.clock import SystemClock
from adapters.egress.keys import KeyRing
from pipelines.cli import app
from tests.sekmet import sekmet

run = CliRunner()


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLINICAL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CLINICAL_SITES_FILE", str(tmp_path / "sites.toml"))
    return tmp_path


def _sites(folder: Path, text: str) -> None:
    (folder / "sites.toml").write_text(text)


def _check(name: str = "ward") -> tuple[int, str]:
    done = run.invoke(app, ["site", "check", name])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A sekmet that wants SMART Backend Services, and the folder with the keys that it knows."""
    folder = tmp_path_factory.mktemp("ehr")
    ring = KeyRing(folder / "secrets" / "signing_keys", SystemClock())
    ring.rotate("RS384")
    client = {"client_id": "us", "jwks": {"keys": ring.public()}, "scopes": "system/*.cruds"}
    auth = {"types": ["smart"], "smart_clients": [client], "enforce_scopes": True}
    with sekmet(folder, server_auth=auth) as url:
        yield url, folder


@pytest.mark.integration
def test_a_site_that_works_is_told_so_step_by_step(
    guarded: tuple[str, Path], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, keys = guarded
    monkeypatch.setenv("CLINICAL_DATA_DIR", str(keys))
    _sites(
        data_dir,
        f'[sites.ward.fhir]\nbase_url = "{url}"\n'
        'auth = {kind = "smart_backend", client_id = "us", scopes = ["system/*.cruds"]}\n'
        '[sites.ward.write_back]\nis_on = true\nresources = ["Task", "RiskAssessment"]\n',
    )
    status, told = _check()
    assert "works    reading patients" in told
    assert "works    write-back of Task" in told
    # It takes RiskAssessments, and its statement does not say so: until told to send all the same.
    assert "FAILS    write-back of RiskAssessment" in told
    assert status == 1


@pytest.mark.integration
def test_a_client_that_the_ehr_does_not_know_is_told_what_to_look_at(
    guarded: tuple[str, Path], data_dir: Path
) -> None:
    url, _ = guarded
    _sites(
        data_dir,
        f'[sites.ward.fhir]\nbase_url = "{url}"\n'
        'auth = {kind = "smart_backend", client_id = "stranger", scopes = ["system/*.rs"]}\n',
    )
    status, told = _check()
    assert status == 1
    assert "FAILS" in told
    assert "check client id, registered key and token URL" in told


def test_an_ehr_that_is_not_there_fails_by_name(data_dir: Path) -> None:
    _sites(data_dir, '[sites.ward.fhir]\nbase_url = "http://127.0.0.1:9/fhir"\n')
    status, told = _check()
    assert (status, "peer.unavailable" in told) == (1, True)


def test_an_address_without_https_is_told_before_anything_is_sent(data_dir: Path) -> None:
    _sites(data_dir, '[sites.ward.fhir]\nbase_url = "http://ehr.example/fhir"\n')
    status, told = _check()
    assert (status, "peer.foreign_address" in told) == (1, True)


def test_a_bad_webhook_secret_is_found_before_it_matters(data_dir: Path) -> None:
    _sites(data_dir, '[sites.ward]\nwebhook_secrets = ["whsec_AAAAA"]\n')
    status, told = _check()
    assert (status, "FAILS    webhooks in" in told) == (1, True)
    assert "AAAAA" not in told


def test_a_site_that_nobody_knows_is_a_named_error(data_dir: Path) -> None:
    _sites(data_dir, "")
    status, told = _check()
    assert (status, "sites.unknown" in told) == (1, True)


def test_sites_are_listed_with_what_is_on(data_dir: Path) -> None:
    _sites(data_dir, '[sites.ward]\nwebhook_secrets = ["whsec_AAAA"]\n[sites.clinic]\n')
    told = run.invoke(app, ["site", "list"]).output
    assert "ward: webhooks" in told
    assert "clinic: nothing is on" in told


def test_keys_are_rotated_listed_and_removed() -> None:
    assert run.invoke(app, ["keys", "rotate"]).exit_code == 0
    assert run.invoke(app, ["keys", "rotate"]).exit_code == 0
    listed = run.invoke(app, ["keys", "list"]).output.splitlines()
    assert [line.rpartition("  ")[2] for line in listed] in (
        ["signs", "published"],
        ["published", "signs"],  # both made within one second sort by their random names
    )
    (signing,) = [line.split()[0] for line in listed if line.endswith("signs")]
    refused = run.invoke(app, ["keys", "remove", signing])
    assert (refused.exit_code, "keys.in_use" in refused.output) == (1, True)
    (other,) = [line.split()[0] for line in listed if line.endswith("published")]
    assert run.invoke(app, ["keys", "remove", other]).exit_code == 0
