"""`clinical up`: everything starts, and however it ends no process is left."""

import signal
from pathlib import Path

import psutil
import pytest

from tests.stack import Started, free_ports, ready, up

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for all, so that the database is made only once."""
    return tmp_path_factory.mktemp("up")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_well_and_leaves_no_process(
    folder: Path, number: signal.Signals
) -> None:
    with up(folder) as (started, url):
        assert ready(url)["status"] == "ready"
        assert {"web", "worker", "model"} <= _commands(started)
        assert started.stop(number) == 0
        assert started.alive() == []
        assert "Stopped." in started.text()


def test_killed_without_warning_it_leaves_no_process_and_starts_again(folder: Path) -> None:
    with up(folder) as (started, _):
        assert started.stop(signal.SIGKILL) == -signal.SIGKILL
        assert started.wait_until_none_is_alive(seconds=15) == []
    with up(folder) as (started, url):
        assert ready(url)["status"] == "ready"
        assert started.stop() == 0


@pytest.mark.parametrize(
    "name",
    [
        "model",
        pytest.param("web", marks=pytest.mark.slow),
        pytest.param("worker", marks=pytest.mark.slow),
    ],
)
def test_when_one_process_dies_it_says_which_and_stops_the_others(folder: Path, name: str) -> None:
    with up(folder) as (started, _):
        main = min(started.named(name), key=psutil.Process.create_time)
        main.kill()
        assert started.stop(number=None) == 1
        assert f"process.child_died: the {name} process ended (signal 9)" in started.text()
        assert started.wait_until_none_is_alive(seconds=5) == []


def test_told_to_stop_while_it_starts_it_leaves_no_process(tmp_path: Path) -> None:
    with Started(["up"], tmp_path) as started:
        while not (tmp_path / "data" / "logs" / "model.log").exists():
            assert started.process.poll() is None, started.text()
        assert started.stop() == 0
        assert started.wait_until_none_is_alive(seconds=5) == []


def test_a_folder_in_use_is_refused_and_a_taken_port_is_named_with_its_setting(
    folder: Path, tmp_path: Path
) -> None:
    with up(folder) as (first, url):
        with Started(["up"], tmp_path, {"CLINICAL_DATA_DIR": str(folder / "data")}) as second:
            assert second.stop(number=None) == 1
            assert "process.already_running" in second.text()
            second.environment["CLINICAL_DATA_DIR"] = str(tmp_path)  # the folder is the first's
        with Started(["up"], tmp_path, {"CLINICAL_WEB_PORT": url.rpartition(":")[2]}) as third:
            assert third.stop(number=None) == 1
            assert "process.port_taken" in third.text()
            assert "CLINICAL_WEB_PORT" in third.text()
        assert ready(url)["status"] == "ready"
        assert first.stop() == 0


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    assert all(port < 32_768 for port in free_ports(20))


def _commands(started: Started) -> set[str]:
    return {word for process in started.alive() for word in process.cmdline()}
