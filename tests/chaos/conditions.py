"""Faults of what is taken for granted: room on the disk, the right time, an honest model."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from adapters.model_server.client import HttpModelServer
from clinical.prediction.abstention import AbstentionReason
from clinical.timeline.patient import PatientRef
from tests.chaos.history import Outcome
from tests.chaos.load import Sender, parcel
from tests.chaos.scene import Scene
from tests.chaos.stage import SITE, is_root
from tests.stack import Started, wait_until

_ROOM_BYTES = 48 * 2**20
_FULL_SECONDS = 5.0
_SKEWED_SECONDS = 6.0
_LIE_SECONDS = 4.0
_LIES = ("killed", "nan", "input", "model", "killed")


def disk_full(scene: Scene, number: int) -> None:
    """K11: the disk of the database runs full under load; then room is made."""
    if not is_root():
        scene.see("not possible here: mounting a small file system needs root")
        return
    with _small_disk(scene) as disk:
        ballast = disk / "ballast"
        _fill(ballast)
        refused = _while_full(scene, number)
        process = scene.stage.postgres.process
        assert process is not None
        has_died = process.poll() is not None
        ballast.unlink()
        freed = time.monotonic()
        if process.poll() is not None:  # the harness is the supervisor
            scene.stage.postgres.start()
        scene.recover(freed)
    scene.see(f"PostgreSQL {'ended itself' if has_died else 'stayed up'} while the disk was full")
    scene.see("answers while full: " + ", ".join(sorted(refused)))


@contextlib.contextmanager
def _small_disk(scene: Scene) -> Iterator[Path]:
    """The database on a file system with little room; back on the old one afterwards."""
    postgres, home = scene.stage.postgres, scene.stage.postgres.folder
    disk = home.parent / "small-disk"
    disk.mkdir(exist_ok=True)
    postgres.stop()
    used = sum(each.stat().st_size for each in postgres.cluster.rglob("*") if each.is_file())
    size = f"size={used + _ROOM_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk], check=True)
    try:
        subprocess.run(["cp", "-a", postgres.cluster, disk], check=True)
        postgres.folder = disk
        postgres.start()
        yield disk
    finally:
        (disk / "ballast").unlink(missing_ok=True)
        postgres.stop()
        shutil.rmtree(home / "cluster")
        subprocess.run(["cp", "-a", disk / "cluster", home], check=True)
        shutil.copy(disk / "server.log", home / "server-small-disk.log")
        postgres.folder = home
        subprocess.run(["umount", disk], check=True)
        postgres.start()


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 2**16)
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 512)


def _while_full(scene: Scene, number: int) -> set[str]:
    """What senders are told meanwhile."""
    sender = Sender(scene.stage.web_url, scene.load.history, "full")
    heard, until, count = set[str](), time.monotonic() + _FULL_SECONDS, 0
    while time.monotonic() < until:
        count += 1
        what = parcel(f"{scene.tag}-full{number}-{count}", 0, scene.chance)
        sent = sender.send(what, patience=0, stop=lambda: True)
        heard |= {"202"} if sent.outcome is Outcome.OK else set(sent.told["codes"])
        time.sleep(0.2)
    sender.close()
    return heard


def skewed_clock(scene: Scene, number: int) -> None:
    """K12: a second worker whose clock is an hour ahead, or an hour behind, works beside the first."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        scene.see("not possible here: libfaketime is not installed (apt-get install faketime)")
        return
    stage, sign = scene.stage, "+-"[number % 2]
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{sign}3600s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    began = time.monotonic()
    with stage.second_worker(**faked) as second:
        wait_until(lambda: " ready." in second.text(), 90)
        time.sleep(_SKEWED_SECONDS)
        scene.recover(time.monotonic())
    scene.say(
        f"{scene.row.name}: a worker {sign}1 h worked beside it for {time.monotonic() - began:.0f} s"
    )
    late, most = scene.rows(
        "SELECT count(*) FILTER (WHERE due_at > now() + interval '10 minutes'), max(attempts)"
        " FROM messages WHERE state IN ('waiting', 'started')"
    )[0]
    scene.require(late == 0, f"{late} messages put off by more than ten minutes")
    scene.see(f"{sign}1 h: {late} messages put off, {most or 0} attempts at what is owed")


def dishonest_model(scene: Scene, number: int) -> None:
    """K13: the model process is killed; or it answers NaN, for another input, as another model."""
    stage, lie = scene.stage, _LIES[number % len(_LIES)]
    with contextlib.closing(HttpModelServer(stage.model_url, 10)) as models:
        said = models.fingerprint()
    stage.kill("model")
    sender = Sender(stage.web_url, scene.load.history, "lied-to")
    what = parcel(f"{scene.tag}-{lie}{number}", 0, scene.chance)
    if lie == "killed":
        sender.send(what, stop=lambda: False)
        time.sleep(_LIE_SECONDS)
    else:
        program = (sys.executable, "-P", "-m", "tests.chaos.lying_model")
        fingerprint = [said.name, said.version, said.manifest_digest, said.vocabulary_digest]
        arguments = [str(stage.model_port), lie, *fingerprint]
        with Started(arguments, stage.folder, stage.settings, program=program):
            stage.wait_for_model()
            sender.send(what, stop=lambda: False)
            time.sleep(_LIE_SECONDS)
    sender.close()
    _say_what_is_stored(scene, lie, what.record_id)
    began = time.monotonic()
    stage.start("model")
    stage.wait_for_model(120)
    scene.slowest("the model itself", time.monotonic() - began)
    scene.recover(began)


def _say_what_is_stored(scene: Scene, lie: str, record_id: str) -> None:
    patient_id = PatientRef(SITE, record_id).patient_id
    stored = scene.rows(
        "SELECT readouts::text, manifest_digest, abstention_reason FROM predictions"
        " WHERE patient_id = %s",
        patient_id,
    )
    (owed,) = scene.rows(
        "SELECT coalesce(string_agg(state || ' ' || coalesce(last_error_code, ''), ', '), 'none')"
        " FROM messages WHERE subject_id = %s AND kind = 'prediction.make'",
        patient_id,
    )[0]
    is_nan = any("nan" in readouts.lower() for readouts, _, _ in stored)
    is_other = any(digest == "cd" * 32 for _, digest, _ in stored)
    scene.require(not is_nan, "a prediction of NaN was stored")
    scene.require(not is_other, "an answer was stored under another digest than the model's own")
    scene.require(lie != "input" or not stored, "an answer to another input was stored")
    reasons = [reason for _, _, reason in stored]
    is_told = lie != "nan" or reasons == [AbstentionReason.MODEL_NOT_NUMERIC.value]
    scene.require(is_told, f"an answer of NaN is stored as {reasons}")
    scene.require(lie != "killed" or not stored, "a prediction without a model")
    said = f"{len(stored)} predictions stored" if stored else "nothing stored"
    scene.see(f"{lie}: {said}; the message: {owed}")
