"""`python -m tests.chaos`: break a running site in known ways, and say what became of its promises."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console

from tests.chaos.matrix import ROWS, SHORT
from tests.chaos.scene import Result, play
from tests.chaos.stage import Stage
from tests.chaos.table import WIDTH, render, write
from tests.rabbitmq import program

_ROUNDS = 5
_SEED = 6


def main() -> int:
    """The exit status: 0 where every invariant held, and if asked to be strict every bar of time."""
    asked = _asked()
    # Told to stop by a supervisor: the processes of the site are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    began = time.monotonic()
    if program() is None:
        console.print("RabbitMQ is not installed here: nothing can be shown.")
        return 2

    def say(words: str) -> None:
        print(
            f"[{time.monotonic() - began:6.1f} s] {words}", flush=True
        )  # progress, for whoever waits

    names = asked.rows.split(",") if asked.rows else list(ROWS if asked.full else SHORT)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        console.print(f"no such rows: {', '.join(unknown)}; there are {', '.join(ROWS)}")
        return 2
    say(f"rows {', '.join(names)}; seed {asked.seed}; load average {os.getloadavg()[0]:.1f}")
    results = _played(names, asked, say)
    about = {
        "seed": asked.seed,
        "seconds": round(time.monotonic() - began, 1),
        "num_cpus": psutil.cpu_count(),
        "load_average": os.getloadavg(),
    }
    write(results, asked.out, about)
    render(results, console)
    say(f"done; {asked.out / 'chaos.json'}")
    held = [each.is_met if asked.strict else each.is_kept for each in results]
    return 0 if all(held) else 1


def _played(names: list[str], asked: argparse.Namespace, say: object) -> list[Result]:
    assert callable(say)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="clinical-chaos-") as name:
        stage = Stage(Path(name), num_events=asked.events)
        try:
            stage.open()
            say("the site runs")
            for each in names:
                rounds = asked.rounds
                if not asked.full:
                    rounds = min(rounds, ROWS[each].short_rounds or rounds)
                results.append(play(stage, ROWS[each], rounds, asked.seed, say))
                last = results[-1]
                verdict = "met" if last.is_met else f"MISSED: {last.faults[:3]}"
                say(f"{each}: {last.not_applicable or verdict} ({last.seconds} s)")
                write(results, asked.out, {"seed": asked.seed})
        finally:
            if asked.keep:
                _keep_logs(Path(name), asked.out / "site")
            stage.close()
    return results


def _keep_logs(site: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for log in site.glob("**/*.log"):
        shutil.copy(log, folder / log.name)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all rows, not only the short form's")
    parser.add_argument("--rows", default="", help="only these, such as K2,K4")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--events", type=int, default=10_000, help="of K15")
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--out", type=Path, default=Path("var/chaos"))
    parser.add_argument("--strict", action="store_true", help="status 1 also for a late recovery")
    parser.add_argument("--keep", action="store_true", help="keep the logs of the site there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
