"""What children count is kept by their parent, and never holds a child up."""

import os
import time

from adapters.operations.metrics import WorkerMetrics, exposition
from adapters.operations.tallies import TallyPipe

_ATTEMPTS = 'clinical_message_attempts_total{kind="prediction.make",outcome="done"}'


def _in_a_child(pipe: TallyPipe, times: int) -> int:
    child = os.fork()
    if child == 0:
        for number in range(times):
            pipe.began(f"{number}")
            pipe.attempted(f"{number}", "prediction.make", "done", 0.2)
        pipe.began("unfinished")
        os._exit(0)
    return child


def _said(metrics: WorkerMetrics) -> str:
    return exposition(metrics.registry)[0].decode()


def test_counts_of_several_children_arrive_whole_also_of_those_that_are_gone() -> None:
    pipe, metrics = TallyPipe(), WorkerMetrics()
    children = [_in_a_child(pipe, 40) for _ in range(3)]
    pipe.keep(metrics)
    for child in children:
        os.waitpid(child, 0)
    deadline = time.monotonic() + 10
    while f"{_ATTEMPTS} 120.0" not in _said(metrics):
        assert time.monotonic() < deadline, _said(metrics)
        time.sleep(0.01)
    # What was begun and not ended is known, so that it can be given back.
    assert metrics.running == {"unfinished"}


def test_a_parent_that_does_not_read_holds_nobody_up_and_what_was_lost_is_counted() -> None:
    pipe, metrics = TallyPipe(), WorkerMetrics()
    for _ in range(5000):  # more than a pipe holds
        pipe.asked("forecast", "answered", 0.01)
    pipe.keep(metrics)
    deadline = time.monotonic() + 10
    while "clinical_lost_tallies_total 0.0" in _said(metrics):
        assert time.monotonic() < deadline
        pipe.asked("forecast", "answered", 0.01)
        time.sleep(0.01)
