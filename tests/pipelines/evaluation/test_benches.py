"""A bench measures what it says on the files it is given; how fast that is, is no matter for a test."""

import json
import sys
from pathlib import Path

import pytest

from pipelines.evaluation import bench_import, bench_meds, bench_parse
from pipelines.evaluation.bench_sample import (
    NoBundlesError,
    bundles,
    on_one_core,
    resources,
    write_copies,
)
from pipelines.evaluation.timing import middle, quantile

SMALLEST = sorted(bundles(None), key=len)[:2]


def written(folder: Path, copies: int = 1) -> Path:
    write_copies(SMALLEST, folder, copies)
    return folder


def test_resources_are_cut_out_whole_and_with_their_type(tmp_path: Path) -> None:
    assert bundles(written(tmp_path)) == SMALLEST
    found = resources(SMALLEST)
    entries = [entry["resource"] for body in SMALLEST for entry in json.loads(body)["entry"]]
    assert [json.loads(raw) for _, raw in found] == entries
    assert [kind for kind, _ in found] == [entry["resourceType"] for entry in entries]


def test_a_folder_without_bundles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoBundlesError):
        bundles(tmp_path)


def test_copies_are_other_patients_with_the_same_records(tmp_path: Path) -> None:
    bodies = bundles(written(tmp_path, copies=3))
    assert len(bodies) == 6
    patients = {json.loads(raw)["id"] for kind, raw in resources(bodies) if kind == "Patient"}
    assert len(patients) == 6
    assert len(resources(bodies)) == 3 * len(resources(SMALLEST))


def test_the_middle_has_the_range_and_a_quantile_its_interval() -> None:
    assert middle([3.0, 1.0, 2.0]) == (2.0, (1.0, 3.0))
    value, (low, high) = quantile([float(n) for n in range(101)], 0.5, seed=0)
    assert value == 50
    assert low < 50 < high
    assert quantile([1.0, 2.0, 9.0], 0.9, seed=1) == quantile([1.0, 2.0, 9.0], 0.9, seed=1)


def test_one_core_is_given_back() -> None:
    import os

    before = os.sched_getaffinity(0)
    with on_one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_the_parse_bench_counts_the_resources_it_was_given(tmp_path: Path) -> None:
    by_resource, by_file = bench_parse.run(
        written(tmp_path), num_bundles=2, repetitions=1, say=lambda _: None
    )
    num = len(resources(SMALLEST))
    assert (by_resource.id, by_resource.n, by_resource.goal) == ("import.parse_ratio", num, 15.0)
    assert (by_file.id, by_file.n, by_file.goal) == ("import.parse_ratio_by_file", num, None)
    assert min(by_file.value, by_resource.value) > 1
    assert all(figure > 0 for figure in by_file.baselines.values())


@pytest.mark.slow
@pytest.mark.integration
def test_the_import_bench_imports_everything_into_a_database_of_its_own(tmp_path: Path) -> None:
    ratio, by_file, memory = bench_import.run(
        written(tmp_path), num_bundles=2, repetitions=1, say=lambda _: None
    )
    assert (ratio.id, ratio.n, ratio.goal) == (
        "import.durable_ratio",
        len(resources(SMALLEST)),
        4.0,
    )
    assert (by_file.id, by_file.goal) == ("import.durable_ratio_by_file", None)
    assert memory.id == "import.peak_mib"
    assert 20 < memory.value < 1000


def test_the_meds_bench_lets_each_way_convert_the_same_files(tmp_path: Path) -> None:
    """Ours and the plain one; the third needs an environment of its own."""
    row, every_line = bench_meds.run(
        written(tmp_path),
        fhir2meds_python=None,
        num_bundles=2,
        repetitions=1,
        say=lambda _: None,
    )
    assert row.id == "meds.ratio_fhir_resources"
    assert row.n == len(resources(SMALLEST))
    assert 0 < row.baselines["fhir.resources, rows"] <= row.baselines["ours, rows"]
    assert every_line.baselines["fhir.resources, rows"] == row.baselines["fhir.resources, rows"]


def test_a_way_to_meds_that_fails_is_told(tmp_path: Path) -> None:
    """This Python has no fhir2meds."""
    with pytest.raises(bench_meds.ContenderFailedError, match=r"fhir2meds_once\.py"):
        bench_meds.run(
            written(tmp_path),
            fhir2meds_python=Path(sys.executable),
            num_bundles=2,
            repetitions=1,
            say=lambda _: None,
        )
