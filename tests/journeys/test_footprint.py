"""What the processes take: only the model process holds torch, and web and worker stay small."""

import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from tests.journeys.conftest import Running

pytestmark = pytest.mark.integration

HEAVY = (
    "torch",
    "fhir.resources",
    "pyarrow",
    "matplotlib",
    "sklearn",
    "hl7",
    "lxml",
    "ccda_to_fhir",
)


@pytest.mark.parametrize(
    "module", ["pipelines.worker", "adapters.assembly.web", "adapters.assembly.mllp"]
)
def test_starting_web_worker_or_mllp_imports_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print([n for n in {HEAVY} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("name", "most_mebibytes"), [("web", 150), ("worker", 200)])
def test_after_work_a_process_with_its_children_stays_small_and_without_torch(
    site: Running, sample_patient: UUID, name: str, most_mebibytes: int
) -> None:
    """By proportional set size: what forked children share with their parent counts once."""
    processes = site.started.named(name)
    mebibytes = sum(each.memory_full_info().pss for each in processes) / 2**20
    assert mebibytes <= most_mebibytes
    for process in processes:
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
