"""CDS Hooks as the sites file states them: what may be said, and whose keys are read from where."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.assembly.cds import cds_door, findings
from adapters.clock import SystemClock
from adapters.http.cds_tokens import BadTokenError
from adapters.settings import Settings
from adapters.sites.file import MalformedSitesFileError, sites_of
from adapters.sites.site import Site
from tests.adapters.http.cds_stage import ISSUER, EhrClient, key_set
from tests.planning import local_model

PUBLIC = "https://cds.example"
PATH = "/cds/north/cds-services"


class Keys:
    """A place on the web where public keys are."""

    def __init__(self) -> None:
        self.num_asked, self.body, self.status = 0, json.dumps(key_set()).encode(), 200

    def serve(self) -> ThreadingHTTPServer:
        told = self

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told.num_asked += 1
                self.send_response(told.status)
                self.send_header("content-length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

            def log_message(self, *_: object) -> None:
                return

        return ThreadingHTTPServer(("127.0.0.1", 0), Answering)


@pytest.fixture
def keys() -> Iterator[tuple[Keys, str]]:
    held = Keys()
    server = held.serve()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield held, f"http://127.0.0.1:{server.server_address[1]}/jwks.json"
    server.shutdown()
    server.server_close()
    thread.join(5)


def site(**cds: Any) -> Site:
    return sites_of({"sites": {"north": {"cds_hooks": cds}}}, folder=Path())["north"]


def client(**more: Any) -> dict[str, Any]:
    return {"issuer": ISSUER, **more}


def checked(engine: Engine, stated: Site, folder: Path) -> Any:
    settings = Settings(sites_file=folder / "sites.toml")
    door = cds_door(settings, {"north": stated}, engine, SystemClock(), local_model())
    assert door is not None
    return door.sites["north"].check


def token() -> str:
    made = EhrClient(None, SystemClock())  # type: ignore[arg-type]
    return f"Bearer {made.token(PATH)}"


@pytest.mark.parametrize(
    "cds",
    [
        {"public_url": PUBLIC},
        {"public_url": f"{PUBLIC}/", "clients": [client(jwks_file="k")]},
        {"public_url": "cds.example", "clients": [client(jwks_file="k")]},
        {"public_url": PUBLIC, "clients": [client()]},
        {"public_url": PUBLIC, "clients": [client(jwks_file="k", jwks_url="https://k")]},
        {"public_url": PUBLIC, "clients": [client(jwks_file="k", algorithms=["HS256"])]},
        {"public_url": PUBLIC, "clients": [client(jwks_file="k", algorithms=["none"])]},
        {"public_url": PUBLIC, "clients": [client(jwks_file="k")] * 2},
        {"public_url": PUBLIC, "clients": [client(jwks_file="k")], "warning_from": 30},
        {"public_url": PUBLIC, "clients": [client(jwks_file="k", surprise=1)]},
    ],
)
def test_what_cannot_be_meant_is_refused_when_the_file_is_read(cds: dict[str, Any]) -> None:
    with pytest.raises(MalformedSitesFileError, match="cds_hooks"):
        site(**cds)


@pytest.mark.integration
def test_keys_are_read_from_a_file_beside_the_sites_file(engine: Engine, tmp_path: Path) -> None:
    stated = site(public_url=PUBLIC, clients=[client(jwks_file="ehr.jwks.json")])
    check = checked(engine, stated, tmp_path)
    with pytest.raises(BadTokenError):
        check(token(), PUBLIC + PATH)
    (tmp_path / "ehr.jwks.json").write_text(json.dumps(key_set()))
    assert checked(engine, stated, tmp_path)(token(), PUBLIC + PATH) == ISSUER


@pytest.mark.integration
def test_keys_are_fetched_from_the_one_address_that_the_site_names(
    engine: Engine, tmp_path: Path, keys: tuple[Keys, str]
) -> None:
    held, url = keys
    stated = site(public_url=PUBLIC, clients=[client(jwks_url=url, allows_plain_http=True)])
    check = checked(engine, stated, tmp_path)
    for _ in range(3):
        assert check(token(), PUBLIC + PATH) == ISSUER
    assert held.num_asked == 1


@pytest.mark.integration
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (302, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"keys": 7}'),
        (200, b'{"keys": [7, {"kid": "ec-1"}]}'),
        (200, b" " * (300 * 1024)),
    ],
)
def test_an_address_without_usable_keys_lets_nobody_in(
    engine: Engine, tmp_path: Path, keys: tuple[Keys, str], status: int, body: bytes
) -> None:
    held, url = keys
    held.status, held.body = status, body
    stated = site(public_url=PUBLIC, clients=[client(jwks_url=url, allows_plain_http=True)])
    with pytest.raises(BadTokenError):
        checked(engine, stated, tmp_path)(token(), PUBLIC + PATH)


@pytest.mark.integration
def test_the_public_address_may_be_that_of_the_settings(engine: Engine, tmp_path: Path) -> None:
    stated = site(clients=[client(jwks_file="ehr.jwks.json")])
    with pytest.raises(MalformedSitesFileError, match="public_url"):
        checked(engine, stated, tmp_path)
    settings = Settings(sites_file=tmp_path / "sites.toml", public_url=f"{PUBLIC}/")
    door = cds_door(settings, {"north": stated}, engine, SystemClock(), local_model())
    assert door is not None
    assert door.sites["north"].public_url == PUBLIC


@pytest.mark.integration
def test_without_any_client_there_is_no_door(engine: Engine) -> None:
    assert cds_door(Settings(), {"north": Site()}, engine, SystemClock(), local_model()) is None


def test_a_check_says_whose_keys_can_be_read(tmp_path: Path) -> None:
    stated = site(
        public_url=PUBLIC,
        clients=[client(jwks_file="ehr.jwks.json")],
        allows_unauthenticated=True,
    )
    [unread, anybody] = findings(stated, tmp_path, SystemClock())
    assert not unread[0]
    assert "allows_unauthenticated" in anybody[1]
    (tmp_path / "ehr.jwks.json").write_text(json.dumps(key_set()))
    assert next(findings(stated, tmp_path, SystemClock())) == (
        True,
        f"{ISSUER}: 2 public key(s) can be read",
    )
