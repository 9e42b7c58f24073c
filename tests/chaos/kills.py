"""Faults that kill: the web process, workers, PostgreSQL, RabbitMQ, and all of them at once."""

import shutil
import signal
import threading
import time
from contextlib import suppress

import psutil

from tests.chaos.scene import Scene
from tests.stack import wait_until


def web(scene: Scene, _round: int) -> None:
    """K1: the web process is killed while clients wait for answers, and started again."""
    began = time.monotonic()
    scene.stage.kill("web")
    scene.stage.start("web")
    scene.stage.wait_for_web(120)
    scene.slowest("web itself", time.monotonic() - began)
    scene.recover(began)


def worker(scene: Scene, number: int) -> None:
    """K2: the whole worker, or one child of its pool, by turns."""
    began = time.monotonic()
    if number % 2 == 0:
        scene.stage.kill("worker")
        scene.stage.start("worker")
    else:
        _kill_a_child(scene)
    scene.recover(began)
    (attempts,) = scene.rows("SELECT coalesce(max(attempts), 0) FROM messages")[0]
    scene.see(f"at most {attempts} attempts at a message")


def postgres(scene: Scene, _round: int) -> None:
    """K4: every process of the database at once, then crash recovery."""
    began = time.monotonic()
    scene.stage.postgres.kill()
    scene.work(0.2, 1.0)
    scene.stage.postgres.start()
    scene.recover(began)


def broker(scene: Scene, _round: int) -> None:
    """K6: the broker is killed while the relay publishes, and comes back on its data."""
    began = time.monotonic()
    scene.stage.broker.kill()
    _start_the_broker(scene, began)
    scene.recover(began)


def wiped_broker(scene: Scene, _round: int) -> None:
    """K7: the broker comes back with nothing: no ids, no queues."""
    began = time.monotonic()
    scene.stage.broker.kill()
    shutil.rmtree(scene.stage.folder / "rabbitmq" / "mnesia", ignore_errors=True)
    _start_the_broker(scene, began)
    scene.recover(began)


def everything(scene: Scene, _round: int) -> None:
    """K18: worker, database and broker together."""
    stage = scene.stage
    began = time.monotonic()
    stage.kill("worker")
    stage.postgres.kill()
    stage.broker.kill()
    starting = threading.Thread(target=stage.postgres.start)
    starting.start()
    stage.broker.start()
    starting.join()
    stage.start("worker")
    scene.recover(began)


def _start_the_broker(scene: Scene, began: float) -> None:
    scene.stage.broker.start()
    seconds = time.monotonic() - began
    scene.slowest("RabbitMQ itself", seconds)
    scene.say(f"{scene.row.name}: the broker takes connections after {seconds:.1f} s")


def _kill_a_child(scene: Scene) -> None:
    children: list[psutil.Process] = []

    def some() -> bool:
        children[:] = scene.stage.pool()
        return bool(children)

    wait_until(some, 30)
    victim = scene.chance.choice(children)
    with suppress(psutil.NoSuchProcess):
        victim.send_signal(signal.SIGKILL)
