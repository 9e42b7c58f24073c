"""Keys that nobody configured."""

import base64
import stat
import threading
from pathlib import Path

import pytest

from adapters.assembly import keys
from adapters.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)  # no `.env` of a developer
    return Settings(data_dir=tmp_path / "data")


def test_a_key_is_made_once_and_only_its_owner_can_read_it(settings: Settings) -> None:
    first = keys.session_key(settings)
    assert keys.session_key(settings) == first
    assert len(base64.b64decode(first)) == 32
    path = settings.data_dir / "secrets" / "session_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_processes_that_start_at_once_agree_on_the_key(settings: Settings) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(keys.session_key(settings))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert [path.name for path in (settings.data_dir / "secrets").iterdir()] == ["session_key"]


def test_a_configured_key_wins_and_nothing_is_written(settings: Settings) -> None:
    configured = Settings(
        data_dir=settings.data_dir,
        session_key="chosen",
        webhook_secrets={"ward": ["whsec_first", "whsec_second"]},
    )
    assert keys.session_key(configured) == b"chosen"
    assert keys.webhook_secret(configured, "ward") == "whsec_first"
    assert not settings.data_dir.exists()


def test_each_site_has_a_secret_of_its_own_in_the_form_of_standard_webhooks(
    settings: Settings,
) -> None:
    ward, clinic = (keys.webhook_secret(settings, site) for site in ("ward/3", "clinic"))
    assert ward.startswith("whsec_")
    assert len(base64.b64decode(ward.removeprefix("whsec_"))) == 32
    assert ward != clinic
