"""Questions, answers and a running model process, for the tests of this room."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psutil

from adapters.model_server.worker import is_ready
from clinical.prediction.horizon import Horizon
from clinical.prediction.prediction import Capsule, Forecast, ModelFingerprint
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.prediction.request import PredictionRequest
from clinical.prediction.trajectory import LatentTrajectory
from clinical.timeline.timeline import Timeline
from tests.clinical.builders import PATIENT, event, hours

MONTH = Horizon(timedelta(0), timedelta(days=30))
FINGERPRINT = ModelFingerprint(
    name="stub", version="1", manifest_digest="m" * 64, vocabulary_digest="v" * 64
)
STUB = Path(__file__).with_name("stub_process.py")


def question(*, num_events: int = 3, seed: int = 0) -> tuple[PredictionRequest, Timeline]:
    """A question about the patient of the builders."""
    timeline = Timeline.of(
        PATIENT, [event(f"o{n}", at=n, value=f"{n}.50") for n in range(num_events)]
    )
    request = PredictionRequest(
        prediction_id=UUID(int=7),
        patient_id=PATIENT,
        as_of=hours(2000),
        received_by=hours(2000),
        seed=seed,
    )
    return request, timeline


def forecast_for(
    request: PredictionRequest, timeline: Timeline, *, estimate: float = 0.25
) -> Forecast:
    """A sound answer to the question; the digits of `estimate` are the only ones that vary."""
    trajectory = LatentTrajectory((MONTH,), 2, b"\x00" * 8, (0.5,), b"\x00" * 4)
    readout = Readout(
        name="death",
        kind=ReadoutKind.PROBABILITY,
        horizon=MONTH,
        estimate=estimate,
        intervals=(Interval(0.1, 0.4, 0.9),),
        evidence=(UUID(int=9),),
    )
    capsule = Capsule(
        input_digest=timeline.input_digest,
        config_digest=request.config_digest,
        model=FINGERPRINT,
        code_version="0",
        torch_version="0",
        device="cpu",
        seed=request.seed,
        num_events=len(timeline),
    )
    return Forecast(
        trajectory=trajectory,
        readouts=(readout,),
        abstention=None,
        familiarity=0.5,
        unseen_code_share=0.0,
        capsule=capsule,
    )


def free_port() -> int:
    """A port that nobody listens on, below the ephemeral range."""
    for port in range(20_000 + time.monotonic_ns() // 1000 % 9_000, 32_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port")


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[str]:
    """A model process started by `command`; yields its base URL once it is ready.

    On leaving it is told to stop, and the test fails if any process of it stays behind.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    base_url = f"http://127.0.0.1:{port}"
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        while not is_ready(base_url):
            assert process.poll() is None, "the model process ended before it was ready"
            assert time.monotonic() < deadline, "the model process did not become ready"
            time.sleep(0.1)
        family = psutil.Process(process.pid).children(recursive=True)
        assert family, "the forecast stage runs in processes of its own"
        yield base_url
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == 0
    _, left = psutil.wait_procs(family, timeout=5)
    assert left == []


@contextlib.contextmanager
def stub_process(
    *,
    seconds: float = 0.0,
    capacity: int = 64,
    timeout_ms: int = 5_000,
    max_batch: int = 8,
    lie: Path | None = None,
) -> Iterator[str]:
    """Real mosec around a model that takes `seconds` a batch and says how large the batch was.

    With `lie` it reads from this file how to lie, each time that it is asked.
    """
    port = free_port()
    words = [port, seconds, capacity, timeout_ms, max_batch, *([lie] if lie else [])]
    with running([sys.executable, str(STUB), *map(str, words)], port) as base_url:
        yield base_url
