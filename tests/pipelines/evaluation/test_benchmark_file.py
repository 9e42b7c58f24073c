"""The benchmark file keeps what was measured, in a stable order, and its picture says the same."""

import subprocess
from datetime import UTC, datetime

import pytest

from pipelines.evaluation import benchmark_file
from pipelines.evaluation.benchmark_file import (
    BenchmarkRow,
    Better,
    Machine,
    MalformedBenchmarkError,
    load,
    measured,
    number,
    render,
    save,
    this_commit,
    upsert,
)


class FixedClock:
    def now(self) -> datetime:
        return datetime(2025, 2, 3, 23, 0, tzinfo=UTC)


def row(name: str = "import.parse_ratio", value: float = 17.5, **changes) -> BenchmarkRow:
    fields = {
        "id": name,
        "value": value,
        "unit": "×",
        "better": Better.HIGHER,
        "goal": 15.0,
        "interval": (16.9, 18.2),
        "baselines": {"fhir.resources, resources/s": 3600.0},
        "n": 160,
        "seeds": (1, 2),
        "command": "clinical bench parse",
        "machine": Machine(cores=2, memory_gib=24, device="cpu"),
        "date": "2025-02-03",
        "commit": "0123456789ab",
        "note": "Median of five.",
    }
    return BenchmarkRow(**(fields | changes))


def test_the_two_files_of_the_project_say_the_same():
    rows = load()
    shown = (benchmark_file.FOLDER / "BENCHMARKS.md").read_text("utf-8")
    assert shown == render(rows)
    assert [r.id for r in rows] == sorted(r.id for r in rows)


def test_a_row_survives_the_file(tmp_path):
    kept = row(baselines={"a": 1.25}, interval=None, goal=None, seeds=())
    save([row(), kept.__class__(**{**_fields(kept), "id": "memory.web_mib"})], tmp_path)
    assert load(tmp_path)[0] == row()
    assert load(tmp_path)[1].baselines == {"a": 1.25}


def test_upsert_replaces_by_id_and_leaves_the_rest_in_order(tmp_path):
    upsert(row("path.b"), row("import.a"), folder=tmp_path)
    upsert(row("path.b", 20.0), folder=tmp_path)
    assert [(r.id, r.value) for r in load(tmp_path)] == [("import.a", 17.5), ("path.b", 20.0)]
    assert (tmp_path / "BENCHMARKS.md").read_text("utf-8") == render(load(tmp_path))


def test_a_missed_goal_is_said_and_a_met_one_too():
    assert "≥ 15: met" in render([row()])
    assert "≥ 15: **missed**" in render([row(value=14.9)])
    low = row("memory.web_mib", 151.0, better=Better.LOWER, goal=150.0)
    assert low.is_goal_met is False
    assert "≤ 150: **missed**" in render([low])
    assert row(goal=None).is_goal_met is None


def test_the_picture_holds_every_field_of_a_row():
    shown = render([row()])
    for part in (
        "import.parse_ratio",
        "**17.50 × [16.90, 18.20]**",
        "fhir.resources, resources/s 3,600",
        "160, seeds 1, 2",
        "2 cores, 24 GiB, cpu",
        "2025-02-03, 0123456789ab",
        "Median of five.",
        "clinical bench parse",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1234567.0, "1,234,567"),
        (12.3456, "12.35"),
        (0.01234, "0.01234"),
        (1e-9, "1e-09"),
    ],
)
def test_numbers_show_four_significant_digits(value, shown):
    assert number(value) == shown


def test_machine_date_and_commit_are_filled_in(tmp_path):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    made = measured(
        clock=FixedClock(),
        folder=tmp_path,
        id="a.b",
        value=1.0,
        unit="s",
        better=Better.LOWER,
        n=1,
        command="clinical bench a",
    )
    assert made.date == "2025-02-03"
    assert made.machine.cores >= 1
    assert made.machine.memory_gib >= 1
    assert len(made.commit) == 12
    (tmp_path / "BENCHMARKS.json").write_text("[]")
    assert this_commit(tmp_path) == made.commit
    (tmp_path / "file").write_text("two")
    assert this_commit(tmp_path) == f"{made.commit}+"


def test_a_folder_without_git_has_an_unknown_commit(tmp_path):
    assert this_commit(tmp_path) == "unknown"


def test_what_is_no_row_is_refused(tmp_path):
    (tmp_path / "BENCHMARKS.json").write_text('[{"id": "a.b", "interval": null}]')
    with pytest.raises(MalformedBenchmarkError):
        load(tmp_path)
    with pytest.raises(MalformedBenchmarkError):
        row(interval=(2.0, 1.0))


def _fields(of: BenchmarkRow) -> dict:
    return {name: getattr(of, name) for name in BenchmarkRow.__slots__}
