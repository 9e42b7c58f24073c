"""`clinical bench`: measures, prints a table, and writes the rows into the benchmark file."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.evaluation.benchmark_file import BenchmarkRow

_FILES = Annotated[
    Path | None,
    typer.Option(exists=True, help="Folder of FHIR R4 Bundles (.json); none: the shipped ones."),
]
_RECORD = Annotated[
    bool, typer.Option(help="Write the rows into BENCHMARKS.json and BENCHMARKS.md.")
]
_REPETITIONS = Annotated[int, typer.Option(min=1, help="How often to measure.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    bench = typer.Typer(no_args_is_help=True, help="Measure, and write down what was measured.")
    for name, command in (
        ("parse", parse),
        ("import", import_files),
        ("meds", meds),
        ("path", path),
        ("train", train),
        ("demo", demo),
        ("ablations", ablations),
        ("gates", gates),
        ("icu", icu),
        ("forecast-cost", forecast_cost),
        ("append", append),
        ("recall", recall),
        ("ledger", ledger),
        ("intake", intake),
        ("cds", cds),
        ("record", record_rows),
        ("tumour", tumour),
        ("all", every),
    ):
        bench.command(name)(command)
    app.add_typer(bench, name="bench")


def parse(
    files: _FILES = None,
    bundles: Annotated[int, typer.Option(min=2, help="How many Bundles at most.")] = 20,
    repetitions: _REPETITIONS = 5,
    record: _RECORD = True,
) -> None:
    """Parsing to events against fhir.resources validation alone, one core."""
    from pipelines.evaluation import bench_parse  # noqa: PLC0415

    _measure(
        lambda say: bench_parse.run(files, num_bundles=bundles, repetitions=repetitions, say=say),
        record=record,
    )


def import_files(
    files: _FILES = None,
    bundles: Annotated[int, typer.Option(min=2, help="How many Bundles at most.")] = 160,
    repetitions: _REPETITIONS = 3,
    record: _RECORD = True,
) -> None:
    """The whole import, durable, against the same rate; and its memory for two sizes of input."""
    from pipelines.evaluation import bench_import  # noqa: PLC0415

    _measure(
        lambda say: bench_import.run(files, num_bundles=bundles, repetitions=repetitions, say=say),
        record=record,
    )


def meds(
    files: _FILES = None,
    fhir2meds_python: Annotated[
        Path | None,
        typer.Option(exists=True, help="A Python that has fhir2meds; none: it is left out."),
    ] = None,
    bundles: Annotated[int, typer.Option(min=2, help="How many Bundles at most.")] = 120,
    repetitions: _REPETITIONS = 5,
    record: _RECORD = True,
) -> None:
    """From NDJSON to a MEDS data set, against fhir2meds and plain fhir.resources, one core."""
    from pipelines.evaluation import bench_meds  # noqa: PLC0415

    _measure(
        lambda say: bench_meds.run(
            files,
            fhir2meds_python=fhir2meds_python,
            num_bundles=bundles,
            repetitions=repetitions,
            say=say,
        ),
        record=record,
    )


def path(
    patients: Annotated[
        int, typer.Option(min=1, help="Sample patients to fill the site with.")
    ] = 20,
    webhooks: Annotated[int, typer.Option(min=20, help="How many to time.")] = 200,
    record: _RECORD = True,
) -> None:
    """From webhook to stored prediction, and the memory of web and worker."""
    from pipelines.evaluation import bench_path  # noqa: PLC0415

    _measure(
        lambda say: bench_path.run(num_patients=patients, num_probes=webhooks, say=say),
        record=record,
    )


def train(
    repetitions: _REPETITIONS = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    record: _RECORD = True,
) -> None:
    """Training time of the shipped recipe."""
    from pipelines.evaluation import bench_train  # noqa: PLC0415

    _measure(
        lambda say: bench_train.run(repetitions=repetitions, num_steps=steps, say=say),
        record=record,
    )


def demo(
    repetitions: _REPETITIONS = 3,
    clean_clone: Annotated[
        bool, typer.Option(help="Also clone and install into a temporary folder.")
    ] = True,
    record: _RECORD = True,
) -> None:
    """From the demo's command to the first served page."""
    from pipelines.evaluation import bench_demo  # noqa: PLC0415

    _measure(
        lambda say: bench_demo.run(repetitions=repetitions, is_clean_clone=clean_clone, say=say),
        record=record,
    )


def forecast_cost(
    data: Annotated[
        Path, typer.Option(exists=True, help="Folder of PhysioNet 2012: set-a.tar.gz.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Of training, of each model.")] = 240,
    stays: Annotated[int, typer.Option(min=2, help="To ask about, for each seed.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    futures: Annotated[int, typer.Option(min=2, help="To draw for a stay, at most.")] = 256,
    cache: Annotated[Path, typer.Option(help="File for the stays, once read.")] = Path(
        "var/bench/physionet-2012-a.safetensors"
    ),
    record: _RECORD = True,
) -> None:
    """All horizons in one pass, against futures written event by event to the same variance."""
    from pipelines.evaluation.forecast.table import Size, run  # noqa: PLC0415

    size = Size(num_steps=steps, num_asked=stays, num_seeds=seeds, max_paths=futures)
    _measure(lambda say: run(data, size=size, cache=cache, say=say), record=record)


def tumour(
    gammas: Annotated[str, typer.Option(help="Confoundings, with commas.")] = "0,1,2,3,4",
    seeds: Annotated[str, typer.Option(help="Seeds, with commas.")] = "10,101,1010,10101,101010",
    steps: Annotated[int, typer.Option(min=1, help="Of training, of each model.")] = 1000,
    folder: Annotated[Path, typer.Option(help="Where finished parts are kept.")] = Path(
        "var/bench/tumour"
    ),
    only_kept: Annotated[
        bool, typer.Option(help="Make the table of what earlier runs finished.")
    ] = False,
    picture: Annotated[Path, typer.Option(help="Where to draw it, with --record.")] = Path(
        "docs/tumour.svg"
    ),
    record: _RECORD = True,
) -> None:
    """Tumours under other treatments than those given, against trees, a filter and the truth."""
    from pipelines.evaluation.tumour import bench  # noqa: PLC0415

    choice = bench.choice(gammas, seeds, num_steps=steps, folder=folder, only_kept=only_kept)
    _measure(lambda say: bench.run(choice, say=say), record=record)
    if record:
        bench.draw(picture)


def append(
    repetitions: Annotated[int, typer.Option(min=20, help="How often to append.")] = 300,
    checkpoint: Annotated[
        Path | None, typer.Option(exists=True, help="Folder of a model; none: the shipped one.")
    ] = None,
    record: _RECORD = True,
) -> None:
    """One more bundle after 100 to 100,000 events of history, beside a transformer."""
    from pipelines.evaluation.append import bench  # noqa: PLC0415
    from pipelines.samples import FOLDER  # noqa: PLC0415

    model = checkpoint or FOLDER / "checkpoints" / "synthea-small"
    _measure(lambda say: bench.run(model, repetitions=repetitions, say=say), record=record)


def recall(
    predictions: Annotated[int, typer.Option(min=1000, help="How many to make up.")] = 1_000_000,
    repetitions: _REPETITIONS = 5,
    record: _RECORD = True,
) -> None:
    """What a recall finds among a million predictions, by model and by input record."""
    from pipelines.evaluation import bench_recall  # noqa: PLC0415

    _measure(
        lambda say: bench_recall.run(num_predictions=predictions, repetitions=repetitions, say=say),
        record=record,
    )


def ledger(
    leaves: Annotated[int, typer.Option(min=1_000, help="Of the long log.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=2, help="Of commits, with and without.")] = 12,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of each such round.")] = 4.0,
    rate: Annotated[float, typer.Option(min=1, help="Entries a second, for the delay.")] = 200.0,
    delay_seconds: Annotated[float, typer.Option(min=1, help="How long to write them.")] = 60.0,
    proofs: Annotated[int, typer.Option(min=20, help="How many to time.")] = 2_000,
    record: _RECORD = True,
) -> None:
    """What the audit log costs, how fast it is proven and verified, how long an entry waits."""
    from pipelines.evaluation.ledger import bench  # noqa: PLC0415

    size = bench.Size(
        num_rounds=rounds,
        round_seconds=seconds,
        num_leaves=leaves,
        num_proofs=proofs,
        entries_per_second=rate,
        delay_seconds=delay_seconds,
    )
    _measure(lambda say: bench.run(size, say=say), record=record)


def intake(
    rates: Annotated[
        str, typer.Option(help="Events a second, falling, with commas; up to the first sustained.")
    ] = "150,75,40,20,10,5",
    seconds: Annotated[float, typer.Option(min=2, help="At each rate.")] = 20.0,
    patients: Annotated[int, typer.Option(min=1, help="Sample patients of the site.")] = 20,
    drain_seconds: Annotated[float, typer.Option(min=1, help="To wait after each rate.")] = 120.0,
    record: _RECORD = True,
) -> None:
    """Signed webhooks at a steady rate, until their predictions are stored; and three times as many."""
    from pipelines.evaluation.ledger import bench_intake  # noqa: PLC0415

    wanted = [float(each) for each in rates.split(",")]
    _measure(
        lambda say: bench_intake.run(
            rates=wanted,
            seconds=seconds,
            num_patients=patients,
            drain_seconds=drain_seconds,
            say=say,
        ),
        record=record,
    )


def cds(
    rate: Annotated[float, typer.Option(min=1, help="Records opened a second.")] = 50.0,
    order_rate: Annotated[float, typer.Option(min=0.1, help="Orders drafted a second.")] = 2.0,
    seconds: Annotated[float, typer.Option(min=2, help="Of each.")] = 20.0,
    patients: Annotated[int, typer.Option(min=1, help="Sample patients of the site.")] = 20,
    record: _RECORD = True,
) -> None:
    """CDS Hooks: cards for opened records, and for draft orders, from a whole site."""
    from pipelines.evaluation import bench_cds  # noqa: PLC0415

    _measure(
        lambda say: bench_cds.run(
            rate=rate, order_rate=order_rate, seconds=seconds, num_patients=patients, say=say
        ),
        record=record,
    )


def ablations(
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between them.")] = "0,1,2",
    steps: Annotated[int, typer.Option(min=1, help="Of each run.")] = 120,
    patients: Annotated[int, typer.Option(min=2, help="In each step.")] = 18,
    record: _RECORD = True,
) -> None:
    """Targets, regularisers, inverse dynamics, grounding: one changed at a time, matched runs."""
    from pipelines.evaluation.ablations.bench import Size, run_ablations  # noqa: PLC0415

    size = Size(
        seeds=tuple(int(seed) for seed in seeds.split(",")),
        num_steps=steps,
        patients_per_step=patients,
    )
    _measure(lambda say: run_ablations(size, say=say), record=record)


def gates(
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between them.")] = "0,1,2,3,4",
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    record: _RECORD = True,
) -> None:
    """On how many seeds of the shipped recipe every sign of health is there."""
    from pipelines.evaluation.ablations.bench import Size, run_gates  # noqa: PLC0415

    size = Size(seeds=tuple(int(seed) for seed in seeds.split(",")), num_steps=steps)
    _measure(lambda say: run_gates(size, say=say), record=record)


def record_rows(
    rows: Annotated[Path, typer.Argument(exists=True, help="JSON that a script wrote elsewhere.")],
) -> None:
    """Take in rows that were measured on another machine, such as one with a GPU."""
    from pipelines.evaluation.benchmark_file import record  # noqa: PLC0415

    _measure(lambda _: record(rows), record=False)


def icu(
    data: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder of the PhysioNet 2012 challenge: set-a, set-b-open, Outcomes-a.txt, Outcomes-b-open.txt.",
        ),
    ],
    cache: Annotated[
        Path, typer.Option(help="Where finished parts are kept; a run that was cut off goes on.")
    ] = Path("var/bench/icu"),
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of pretraining instead of the table's.")
    ] = None,
    only_kept: Annotated[
        bool, typer.Option(help="Compute no network: write down what a run has finished so far.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where networks learn, such as cuda.")] = "cpu",
    record: _RECORD = True,
) -> None:
    """Outcomes and values of intensive care: training set to test set, against trees and others."""
    from pipelines.evaluation.icu import run as table  # noqa: PLC0415

    def rows(say: "Callable[[str], None]") -> "list[BenchmarkRow]":
        sizes = table.sizes(num_steps=steps)
        found = table.run(data, cache, sizes, say, only_kept=only_kept, device=device)
        if record:
            table.PICTURE.write_text(found.picture, "utf-8")
        return found.rows

    _measure(rows, record=record)


def every() -> None:
    """All of them, one after the other; each writes its rows when it is done."""
    for measure in (parse, import_files, path, train, demo):
        measure()


def _measure(run: "Callable[[Callable[[str], None]], list[BenchmarkRow]]", *, record: bool) -> None:
    from pipelines.evaluation.benchmark_file import upsert  # noqa: PLC0415

    with told_in_words():
        with _told() as say:
            rows = run(say)
        if record:
            upsert(*rows)
    _print(rows)


@contextmanager
def _told() -> "Iterator[Callable[[str], None]]":
    from rich.console import Console  # noqa: PLC0415

    with Console().status("Starting …") as status:
        yield status.update


def _print(rows: "list[BenchmarkRow]") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from pipelines.evaluation.benchmark_file import goal_text, value_text  # noqa: PLC0415

    table = Table("what", "value", "goal", "n", "beside it")
    table.columns[0].no_wrap = True
    for row in rows:
        beside = "\n".join(f"{name} {value:,.1f}" for name, value in row.baselines.items())
        table.add_row(row.id, value_text(row), goal_text(row), f"{row.n:,}", beside)
    Console().print(table)
