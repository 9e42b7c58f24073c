"""Overload and a full disk: refused with a moment to come again, and a clinician goes on signing."""

import itertools
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from adapters.db.tables import messages
from adapters.http.app import create_app
from tests.adapters.http.conftest import Stage, StageClock, dependencies, served, shedding
from tests.adapters.http.stage import StagedModel
from tests.adapters.http.test_webhooks import code_of, deliver, held, owed

pytestmark = pytest.mark.integration

MAX_BACKLOG = 5


@pytest.fixture
def narrow(engine: Engine) -> Iterator[Stage]:
    """A site that holds little."""
    clock, model = StageClock(), StagedModel()
    deps = dependencies(engine, clock, model)
    deps = replace(
        deps,
        shedding=shedding(deps.open_unit_of_work, MAX_BACKLOG),
        limits=replace(deps.limits, max_webhooks_at_once=2),
    )
    app = create_app(deps)
    with served(app) as client:
        yield Stage(engine=engine, deps=deps, clock=clock, model=model, app=app, client=client)


def _sign(stage: Stage, review_id: object) -> int:
    path = f"/v1/reviews/{review_id}"
    claimed = stage.write(f"{path}:claim", version=1)
    assert claimed.status_code == 200
    return stage.write(f"{path}:sign", version=2, body={"verdict": "agree"}).status_code


def test_beyond_its_backlog_deliveries_are_refused_and_signatures_are_not(narrow: Stage) -> None:
    review_id = narrow.add_patient("p1")
    narrow.sign_in()
    for number in range(MAX_BACKLOG):
        assert deliver(narrow, webhook_id=f"w{number}").status_code == 202
    refused = deliver(narrow, webhook_id="one too many")
    assert (refused.status_code, code_of(refused)) == (503, "intake.overloaded")
    assert int(refused.headers["retry-after"]) > 0
    assert owed(narrow) == MAX_BACKLOG
    assert _sign(narrow, review_id) == 200

    with narrow.engine.begin() as connection:
        connection.execute(messages.update().values(state="done"))
    assert deliver(narrow, webhook_id="one too many").status_code == 202


def test_more_deliveries_at_once_than_there_is_room_for_are_refused_unread(narrow: Stage) -> None:
    """Two that never end hold the door; the page does not notice."""
    review_id = narrow.add_patient("p1")
    narrow.sign_in()
    with _never_ending(narrow), _never_ending(narrow):
        answers = (deliver(narrow, webhook_id=f"w{n}") for n in itertools.count())
        refused = next(answer for answer in answers if answer.status_code != 202)
        assert (refused.status_code, code_of(refused)) == (503, "intake.overloaded")
        assert _sign(narrow, review_id) == 200


def _never_ending(stage: Stage) -> socket.socket:
    url = stage.client.base_url
    connection = socket.create_connection((url.host, url.port))
    connection.sendall(
        b"POST /v1/fhir/north HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 100\r\n\r\n{"
    )
    return connection


@pytest.fixture
def full_disk(engine: Engine) -> Iterator[Path]:
    """Deliveries lie on a disk of four mebibytes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    with tempfile.TemporaryDirectory(prefix="clinical-disk-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0777", "tmpfs", folder]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("no small disk can be mounted here")
        try:
            place = Path(folder) / "place"
            place.mkdir(mode=0o777)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                owner = connection.scalar(
                    text("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
                )
                os.chown(place, Path(str(owner)).stat().st_uid, -1)
                connection.execute(text(f"CREATE TABLESPACE small LOCATION '{place}'"))
                connection.execute(text("ALTER TABLE deliveries SET TABLESPACE small"))
            yield place
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("ALTER TABLE deliveries SET TABLESPACE pg_default"))
                connection.execute(text("DROP TABLESPACE small"))
        finally:
            subprocess.run(["umount", folder], check=False)


def test_a_full_disk_refuses_stores_nothing_by_halves_and_goes_on_when_there_is_room(
    full_disk: Path, stage: Stage
) -> None:
    ballast = full_disk.parent / "ballast"
    ballast.write_bytes(bytes(2**20))
    receipts = []
    for number in range(200):
        body = os.urandom(30_000).hex().encode()
        answer = deliver(stage, body, webhook_id=f"w{number}")
        if answer.status_code != 202:
            break
        receipts.append(answer.json()["delivery_id"])
    assert (answer.status_code, code_of(answer)) == (503, "storage.unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert owed(stage) == len(receipts) > 0
    assert stage.get("/health/ready").status_code == 200

    ballast.unlink()
    again = deliver(stage, body, webhook_id=f"w{number}")
    assert again.status_code == 202
    assert held(stage, again.json()["delivery_id"]).body == body
    assert owed(stage) == len(receipts) + 1
