"""Deliveries again and again, two versions of the code at once, and two sequencers of one ledger."""

import contextlib
import hashlib
import json
import random
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.load import Parcel, Sender, headers_of
from tests.chaos.scene import Scene
from tests.chaos.stage import ROOT, SITE, WITNESS
from tests.journeys.bundles import bundle, observation, patient
from tests.stack import Started, wait_until

_PER_DELIVERY = 4
_NUM_PATIENTS = 100
_SENDERS = 8


def again_and_again(scene: Scene, _round: int) -> None:
    """K15: each delivery is sent one to five times, in any order; of one in a hundred, other bytes too."""
    chance = random.Random(f"{scene.tag}|again")
    num_events = scene.stage.num_events
    parcels = [
        _four_events(scene.tag, number, chance) for number in range(num_events // _PER_DELIVERY)
    ]
    sends, altered = _shuffled(parcels, chance)
    queue, lock = iter(sends), threading.Lock()
    statuses: Counter[Any] = Counter()

    def work() -> None:
        sender = Sender(scene.stage.web_url, scene.load.history, "again")
        while True:
            with lock:
                what = next(queue, None)
            if what is None:
                break
            is_altered = what.sender_id in altered and what.body == altered[what.sender_id].body
            if is_altered:
                statuses[_once(scene, what)] += 1
            else:
                sender.send(what, stop=lambda: False)
        sender.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(_SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scene.settle(600)
    scene.require(statuses == {409: len(altered)}, f"altered: {dict(statuses)} of {len(altered)}")
    (flagged,) = scene.rows(
        "SELECT count(*) FROM audit_entries JOIN deliveries"
        " ON refs->>'delivery' = delivery_id::text"
        " WHERE kind = 'delivery.refused.v1' AND sender_id LIKE %s",
        f"{scene.tag}-k%",
    )[0]
    scene.require(flagged == len(altered), f"{flagged} of {len(altered)} altered have an entry")
    is_same = _stored_digest(scene) == _expected_digest(parcels)
    scene.require(is_same, "the timelines are not those of the clean run")
    scene.see(
        f"{num_events} events in {len(parcels)} deliveries, {len(sends)} sends, {len(altered)} altered"
        f" ({flagged} flagged), timelines {'identical' if is_same else 'DIFFERENT'}"
    )
    _recompute(scene, parcels, chance)


def _four_events(tag: str, number: int, chance: random.Random) -> Parcel:
    record_id = f"{tag}-kp{number % _NUM_PATIENTS}"
    readings = [
        observation(
            f"{tag}-ko{number}-{part}",
            record_id,
            effectiveDateTime=f"2025-0{1 + number % 9}-{1 + number % 28:02}T{number % 24:02}:{part:02}:00Z",
            valueQuantity={
                "value": chance.randrange(50, 120),
                "unit": "/min",
                "system": "http://unitsofmeasure.org",
                "code": "/min",
            },
        )
        for part in range(_PER_DELIVERY)
    ]
    body = bundle(patient(record_id), *readings)
    return Parcel(sender_id=f"{tag}-k{number}", record_id=record_id, body=body)


def _shuffled(
    parcels: list[Parcel], chance: random.Random
) -> tuple[list[Parcel], dict[str, Parcel]]:
    """Every send in its order; an altered copy comes well after an honest one, which so stands."""
    sends = [each for each in parcels for _ in range(chance.randrange(1, 6))]
    chance.shuffle(sends)
    altered = {}
    for each in chance.sample(parcels, max(1, len(parcels) // 100)):
        body = each.body.replace(b"8867-4", b"9279-1")
        altered[each.sender_id] = Parcel(
            sender_id=each.sender_id, record_id=each.record_id, body=body
        )
    for each in altered.values():
        first = next(place for place, sent in enumerate(sends) if sent.sender_id == each.sender_id)
        later = min(first + 20 * _SENDERS, len(sends))
        sends.insert(chance.randrange(later, len(sends) + 1), each)
    return sends, altered


def _once(scene: Scene, what: Parcel) -> int:
    answer = httpx.post(
        f"{scene.stage.web_url}/v1/fhir/{SITE}",
        content=what.body,
        headers=headers_of(what.sender_id, what.body),
        timeout=30,
        trust_env=False,
    )
    return answer.status_code


def _digest(facts: set[tuple[str, str, str]]) -> str:
    return hashlib.sha256(json.dumps(sorted(facts)).encode()).hexdigest()


def _stored_digest(scene: Scene) -> str:
    """Over all facts that are stored: record, code, number."""
    rows = scene.rows(
        "SELECT record_id, code_value, trim_scale(value_number)::text FROM events"
        " WHERE record_type = 'Observation' AND record_id LIKE %s",
        f"{scene.tag}-ko%",
    )
    facts = {tuple(map(str, row)) for row in rows}
    assert len(facts) == len(rows), "a fact is stored twice"
    return _digest(facts)  # type: ignore[arg-type]


def _expected_digest(parcels: list[Parcel]) -> str:
    """Over all facts that were sent honestly, each once: what a clean run stores."""
    facts = set()
    for each in parcels:
        for entry in json.loads(each.body)["entry"]:
            record = entry["resource"]
            if record["resourceType"] == "Observation":
                code = record["code"]["coding"][0]["code"]
                facts.add((record["id"], code, str(record["valueQuantity"]["value"])))
    return _digest(facts)


def _recompute(scene: Scene, parcels: list[Parcel], chance: random.Random) -> None:
    """Newest predictions, computed again from the stored facts by the model."""
    from adapters.model_server.client import HttpModelServer
    from clinical.services.replay import ReplayService

    with contextlib.closing(HttpModelServer(scene.stage.model_url, 60)) as models:
        service = ReplayService(
            open_unit_of_work=scene.stage.open_unit_of_work, models=models, planner=models
        )
        newest = scene.rows(
            "SELECT DISTINCT ON (patient_id) prediction_id FROM predictions"
            " JOIN patients USING (patient_id) WHERE record_id LIKE %s"
            " ORDER BY patient_id, received_by DESC",
            f"{scene.tag}-kp%",
        )
        sample = chance.sample([row[0] for row in newest], min(20, len(newest)))
        equal = 0
        for each in sample:
            stored, again = service.recompute(each)
            equal += stored.forecast.output_digest == again.output_digest
    scene.require(
        equal == len(sample), f"{len(sample) - equal} predictions are not the clean run's"
    )
    scene.see(f"{equal} of {len(sample)} newest predictions recomputed bit for bit")


def deploy(scene: Scene, _round: int) -> None:
    """K16: workers and web of the version before the newest migration, of this one, and back again."""
    old = _older_tree(scene)
    if old is None:
        scene.see("not possible here: this is no checkout of the repository")
        return
    commit, tree = old
    for name, root in (("N", tree), ("N+1", ROOT), ("N", tree), ("N+1", ROOT)):
        for process in ("worker", "web"):
            scene.stage.stop(process)
            scene.stage.start(process, PYTHONPATH=str(root))
        seconds = scene.recover(time.monotonic())
        scene.say(f"{scene.row.name}: version {name} serves after {seconds:.1f} s")
        scene.work(1, 2)
    scene.see(f"N is {commit[:9]}, on the schema of N+1: N, N+1, N, N+1 served in turn")


def _older_tree(scene: Scene) -> tuple[str, Path] | None:
    """The files of the commit before the one that added the newest migration."""
    folder = scene.stage.folder / "older"
    found = subprocess.run(
        ["git", "log", "-1", "--diff-filter=A", "--format=%H", "--", "migrations/versions"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    commit = found.stdout.strip()
    if found.returncode != 0 or not commit:
        return None
    if not folder.exists():
        folder.mkdir()
        archive = subprocess.run(
            ["git", "archive", f"{commit}^"], cwd=ROOT, capture_output=True, check=True
        )
        subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return commit, folder


def sequencers(scene: Scene, _round: int) -> None:
    """K17: two workers sequence one ledger; one is killed while entries wait; a witness looks on."""
    stage = scene.stage
    if "worker-2" not in stage.running:
        stage.start("worker-2")
        wait_until(lambda: " ready." in stage.running["worker-2"].text(), 90)
    with _witness(scene) as witness:
        with contextlib.suppress(AssertionError):
            wait_until(lambda: scene.rows("SELECT 1 FROM audit_pending LIMIT 1"), 5)
        began = time.monotonic()
        stage.kill("worker")
        stage.start("worker")
        scene.recover(began)
        (size,) = scene.rows("SELECT max(size) FROM audit_signatures")[0]
        with contextlib.suppress(AssertionError):
            wait_until(lambda: _seen(witness) >= size, 30)
    forked = list((stage.folder / "witness").glob("*.fork"))
    scene.require(not forked, "the witness saw a fork")
    scene.require(_seen(witness) >= size, "the witness did not catch up")
    scene.see("two sequencers, one killed: one log, and the witness cosigned it")


def _witness(scene: Scene) -> Started:
    key = httpx.get(f"{scene.stage.web_url}/v1/ledger/key", trust_env=False).text.strip()
    arguments = ["--log", scene.stage.web_url, "--log-key", key, "--name", WITNESS]
    folder = str(scene.stage.folder / "witness")
    return scene.stage.command("witness", *arguments, "--folder", folder, "--every", "0.3")


def _seen(witness: Started) -> int:
    """How long the log was that the witness cosigned last."""
    lines = [line for line in witness.text().splitlines() if "seen and cosigned" in line]
    return int(lines[-1].split(": ")[1].split()[0]) if lines else 0
