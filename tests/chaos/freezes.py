"""Faults that leave everything alive: a frozen worker, cut and exhausted connections, a poison message."""

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import httpx
import psutil
import psycopg

from tests.chaos.history import Outcome
from tests.chaos.load import Parcel, Sender, headers_of, parcel
from tests.chaos.scene import Scene
from tests.chaos.stage import LEASE_SECONDS, SITE
from tests.journeys.bundles import bundle, observation, patient
from tests.stack import wait_until

_MAX_ATTEMPTS = 6
_QUARANTINE_SECONDS = 30.0
_NO_HANG_SECONDS = 5.0
_HELD_SECONDS = 4.0
_SHORTEST_DELAY_SECONDS = 1.0  # below it, twice as long is noise


def worker(scene: Scene, number: int) -> None:
    """K3: the worker stands still for three leases in the middle of its work, and then goes on."""
    stage = scene.stage
    if "worker-2" not in stage.running:
        stage.start("worker-2")
        wait_until(lambda: " ready." in stage.running["worker-2"].text(), 60)
    query = "SELECT message_id FROM messages WHERE state = 'started' AND leased_until > now()"
    with contextlib.suppress(AssertionError):  # an idle moment is a fine one too
        wait_until(lambda: scene.rows(query), 3)
    began = time.monotonic()
    stage.freeze("worker")
    try:
        started = [row[0] for row in scene.rows(query)]
        _tell_news(scene, number, started)
        scene.recover(began)
        left = began + 3 * LEASE_SECONDS - time.monotonic()
        if left > 0:
            time.sleep(left)
    finally:
        stage.thaw("worker")
    scene.counted("messages were under way when it froze", len(started))
    fences = scene.rows("SELECT max(fence) FROM messages WHERE message_id = ANY(%s)", started)
    if started:
        scene.see(f"their fences rose to {fences[0][0]}")


def _tell_news(scene: Scene, number: int, started: list[UUID]) -> None:
    """News of each patient whose prediction was under way: the frozen answer is about to be stale."""
    sender = Sender(scene.stage.web_url, scene.load.history, "news")
    asked_about = scene.rows(
        "SELECT record_id FROM messages JOIN patients ON patient_id = subject_id"
        " WHERE kind = 'prediction.make' AND message_id = ANY(%s)",
        started,
    )
    for place, (record_id,) in enumerate(asked_about):
        news = observation(f"{scene.tag}-onews{number}-{place}", record_id)
        body = bundle(patient(record_id), news)
        sender_id = f"{scene.tag}-news{number}-{place}"
        what = Parcel(sender_id=sender_id, record_id=record_id, body=body)
        sender.send(what, stop=lambda: False)
    scene.counted("answers under way were overtaken by news", len(asked_about))
    sender.close()


def connections(scene: Scene, number: int) -> None:
    """K5: every connection to the database is cut; by turns nobody gets a new one for a while."""
    began = time.monotonic()
    with scene.stage.postgres.connect("postgres") as control:
        if number % 2 == 0:
            _cut(control)
        else:
            with _all_taken(scene, control):
                _ask_while_full(scene)
    scene.recover(began)


def _cut(control: psycopg.Connection) -> None:
    control.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = 'clinical' AND pid <> pg_backend_pid()"
    )


@contextlib.contextmanager
def _all_taken(scene: Scene, control: psycopg.Connection) -> Iterator[None]:
    """All slots of the server are held by somebody else."""
    with contextlib.ExitStack() as held:
        _cut(control)
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                held.enter_context(scene.stage.postgres.connect("postgres"))
        yield


def _ask_while_full(scene: Scene) -> None:
    until = time.monotonic() + _HELD_SECONDS
    slowest, refused, promised = 0.0, 0, 0
    number = 0
    with httpx.Client(base_url=scene.stage.web_url, timeout=20, trust_env=False) as client:
        while time.monotonic() < until:
            number += 1
            what = parcel(f"{scene.tag}-full{number}", 0, scene.chance)
            asked = time.monotonic()
            headers = headers_of(what.sender_id, what.body)
            with scene.load.history.operation("full", "deliver", what.sender_id) as done:
                answer = client.post(f"/v1/fhir/{SITE}", content=what.body, headers=headers)
                if answer.is_success:
                    done.outcome = Outcome.OK
                    done.told["receipts"] = {answer.json()["delivery_id"]}
            slowest = max(slowest, time.monotonic() - asked)
            refused += answer.status_code == 503
            promised += answer.status_code == 503 and "retry-after" in answer.headers
            time.sleep(0.2)
    scene.require(
        slowest <= _NO_HANG_SECONDS, f"an answer took {slowest:.1f} s without connections"
    )
    scene.require(refused == promised, "503 without Retry-After")
    scene.see(f"without free connections: 503 with Retry-After, slowest answer {slowest:.1f} s")


def poison(scene: Scene, number: int) -> None:
    """K14: a delivery whose work kills whichever child takes it up, until it is set aside."""
    sender = Sender(scene.stage.web_url, scene.load.history, "poisoner")
    what = parcel(f"{scene.tag}-poison{number}", 0, scene.chance)
    scene.probe(time.monotonic())
    (poisoned_at,) = scene.rows("SELECT now()")[0]
    with scene.stage.postgres.connect() as holder, scene.stage.postgres.connect() as control:
        scene.stage.freeze("worker")  # so that nobody takes it up before it is held
        sent = sender.send(what, stop=lambda: False)
        scene.require(sent.outcome is Outcome.OK, "the poison was not even accepted")
        (delivery_id,) = sent.told["receipts"]
        with holder.transaction():
            # Whoever works on it stops here, which tells the harness whom to kill.
            holder.execute(
                "SELECT 1 FROM deliveries WHERE delivery_id = %s FOR UPDATE", [delivery_id]
            )
            scene.stage.thaw("worker")
            began = time.monotonic()
            kills = 0
            while _state(control, delivery_id)[0] != "given_up":
                kills += _kill_who_waits(scene, control, holder.info.backend_pid)
                if time.monotonic() > began + 2 * _QUARANTINE_SECONDS:
                    break
                time.sleep(0.02)
            seconds = time.monotonic() - began
            state, attempts, message_id = _state(control, delivery_id)
    scene.recover(time.monotonic())
    scene.require(state == "given_up", f"the poison is still {state} after {seconds:.0f} s")
    scene.require(kills <= _MAX_ATTEMPTS, f"{kills} kills before it was set aside")
    scene.require(seconds <= _QUARANTINE_SECONDS, f"set aside after {seconds:.0f} s")
    scene.see(f"{kills} kills, {attempts} attempts, set aside after {seconds:.1f} s")
    _compare_good_work(scene, poisoned_at)
    _redrive_twice(scene, message_id, delivery_id)
    sender.close()


def _compare_good_work(scene: Scene, poisoned_at: datetime) -> None:
    """How long other deliveries waited to be recorded, before the poison came and since."""
    (_, before), (_, since) = scene.rows(
        "SELECT created_at >= %s, percentile_cont(0.5) WITHIN GROUP"
        " (ORDER BY extract(epoch FROM finished_at - created_at)::float)"
        " FROM messages JOIN deliveries ON delivery_id = subject_id"
        " WHERE state = 'done' AND sender_id LIKE %s AND sender_id NOT LIKE '%%poison%%'"
        " GROUP BY 1 ORDER BY 1",
        poisoned_at,
        f"{scene.tag}-%",
    )
    most = max(2 * before, _SHORTEST_DELAY_SECONDS)
    scene.require(since <= most, f"good work waited {since:.1f} s, before {before:.1f} s")
    scene.see(f"good work waited {before:.2f} s before, {since:.2f} s beside the poison")


def _state(control: psycopg.Connection, delivery_id: str) -> tuple[str, int, str]:
    row = control.execute(
        "SELECT state, attempts, message_id::text FROM messages WHERE subject_id = %s",
        [delivery_id],
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _kill_who_waits(scene: Scene, control: psycopg.Connection, holder: int) -> int:
    """Kill the child whose connection waits for the holder's row; how many were killed."""
    waiting = control.execute(
        "SELECT pid, client_port FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))",
        [holder],
    ).fetchall()
    kills = 0
    for backend, port in waiting:
        for child in scene.stage.pool():
            with contextlib.suppress(psutil.Error):
                if any(each.laddr.port == port for each in child.net_connections("tcp")):
                    child.kill()
                    kills += 1
        # The server would not notice before it answers, and what it holds would stay locked.
        control.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
    return kills


def _redrive_twice(scene: Scene, message_id: str, delivery_id: str) -> None:
    statuses = []
    for _time in range(2):
        with scene.stage.command("quarantine", "redrive", message_id, "--by", "operator") as told:
            statuses.append(told.process.wait(60))
        with scene.stage.postgres.connect() as control, contextlib.suppress(AssertionError):
            wait_until(lambda: _state(control, delivery_id)[0] == "done", 30)
    scene.require(statuses[0] == 0, "redrive was refused")
    scene.require(statuses[1] != 0, "a second redrive was let through")
    (entries,) = scene.rows(
        "SELECT count(*) FROM audit_entries"
        " WHERE kind = 'events.recorded.v1' AND refs->>'delivery' = %s",
        delivery_id,
    )[0]
    scene.require(entries == 1, f"after the redrive it was recorded {entries} times")
    scene.see("redriven once: recorded once; a second redrive is refused")
