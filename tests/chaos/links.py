"""Faults of the network: a worker cut off in a network of its own, and links that are slow, silent or rude."""

import contextlib
import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.chaos.load import headers_of, parcel
from tests.chaos.proxy import Mood, Proxy
from tests.chaos.scene import Scene
from tests.chaos.stage import SITE, is_root
from tests.stack import Started, free_ports

_NUMBER = itertools.count(1)
_CUT_SECONDS = 8.0
_MOOD_SECONDS = 4.0
_LONGEST_WAIT_SECONDS = 12.0  # the bar says time-outs of ten seconds; the rest is the way there
_MOODS = (Mood.SLOW, Mood.SILENT, Mood.RUDE, Mood.STALLED)


def partition(scene: Scene, number: int) -> None:
    """K9: the worker alone in a network namespace; its only link goes down and up again."""
    if not is_root():
        scene.see("not possible here: a network namespace needs root")
        return
    with _island(scene) as link:
        scene.probe(time.monotonic())
        _ip("link", "set", link, "down")
        time.sleep(_CUT_SECONDS)
        _ip("link", "set", link, "up")
        healed = time.monotonic()
        scene.recover(healed)
    scene.see(f"the worker was cut off from database, broker and model for {_CUT_SECONDS:.0f} s")


@contextlib.contextmanager
def _island(scene: Scene) -> Iterator[str]:
    """The worker in a namespace of its own, behind a pair of virtual interfaces; the name of ours."""
    stage, number = scene.stage, next(_NUMBER)
    name, ours, theirs = f"clinical-{number}", f"clin{number}a", f"clin{number}b"
    here, there = f"10.213.{number}.1", f"10.213.{number}.2"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        _ip("addr", "add", f"{here}/24", "dev", ours)
        _ip("link", "set", ours, "up")
        _ip("-n", name, "addr", "add", f"{there}/24", "dev", theirs)
        _ip("-n", name, "link", "set", theirs, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        ports = free_ports(3)
        targets = (stage.postgres.port, stage.broker.port, stage.model_port)
        with contextlib.ExitStack() as stack:
            for target, port in zip(targets, ports, strict=True):
                stack.enter_context(Proxy(target, port, here))
            changes = {
                "CLINICAL_DATABASE_URL": stage.postgres.url(ports[0], here),
                "CLINICAL_BROKER_URL": f"amqp://guest:guest@{here}:{ports[1]}//",
                "CLINICAL_MODEL_HOST": here,
                "CLINICAL_MODEL_PORT": str(ports[2]),
            }
            stage.stop("worker")
            stage.running["worker"] = _started_in(name, stage.folder, stage.settings | changes)
            try:
                yield ours
            finally:
                stage.kill("worker")
                stage.start("worker")
    finally:
        subprocess.run(["ip", "link", "del", ours], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _started_in(namespace: str, folder: Path, settings: dict[str, str]) -> Started:
    """The worker, started inside the namespace; the process is the worker's own."""
    return Started(["worker"], folder, settings, prefix=("ip", "netns", "exec", namespace))


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def moods(scene: Scene, number: int) -> None:
    """K10: web and worker reach database and broker over links that are slow, silent, rude, stalled."""
    stage = scene.stage
    mood = _MOODS[number % len(_MOODS)]
    ports = free_ports(2)
    changes = {
        "CLINICAL_DATABASE_URL": stage.postgres.url(ports[0]),
        "CLINICAL_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{ports[1]}//",
    }
    with (
        Proxy(stage.postgres.port, ports[0]) as database,
        Proxy(stage.broker.port, ports[1]) as broker,
    ):
        for name in ("worker", "web"):
            stage.stop(name)
            stage.start(name, **changes)
        try:
            scene.probe(time.monotonic())
            for each in (database, broker):
                each.become(mood)
            slowest = _ask_for(scene, number, _MOOD_SECONDS)
            for each in (database, broker):
                each.become(Mood.FAIR)
            scene.recover(time.monotonic())
        finally:
            for name in ("worker", "web"):
                stage.kill(name)
                stage.start(name)
            stage.wait_for_web()
    scene.see(f"{mood}: slowest answer {slowest:.1f} s")
    words = f"{mood}: an answer took {slowest:.1f} s"
    scene.require(slowest <= _LONGEST_WAIT_SECONDS, words)


def _ask_for(scene: Scene, number: int, seconds: float) -> float:
    """How long the slowest answer to a delivery took; none after half a minute counts as that."""
    until, slowest = time.monotonic() + seconds, 0.0
    for count in itertools.count():
        what = parcel(f"{scene.tag}-mood{number}-{count}", 0, scene.chance)
        asked = time.monotonic()
        with (
            scene.load.history.operation("mood", "deliver", what.sender_id),
            contextlib.suppress(httpx.HTTPError),
        ):
            httpx.post(
                f"{scene.stage.web_url}/v1/fhir/{SITE}",
                content=what.body,
                headers=headers_of(what.sender_id, what.body),
                timeout=30,
                trust_env=False,
            )
        slowest = max(slowest, time.monotonic() - asked)
        if time.monotonic() > until:
            return slowest
    raise AssertionError
