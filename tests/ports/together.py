"""Real threads that begin at the same moment."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def together(tasks: Sequence[Callable[[], Result]]) -> list[Result | Exception]:
    """What each task returned or raised; none begins before all are ready to."""
    ready = threading.Barrier(len(tasks))

    def run(task: Callable[[], Result]) -> Result | Exception:
        ready.wait(30)
        try:
            return task()
        except Exception as error:  # noqa: BLE001 - handed to the test
            return error

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))
