"""The arrows between the rooms point one way, and the import contracts prove it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]


def test_every_import_contract_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """`make check` prints which contract broke, and by which import."""
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize("process", ["web", "worker", "mllp"])
def test_the_process_starts_without_loading_torch(process: str) -> None:
    program = f"import sys, adapters.assembly.{process}; sys.exit('torch' in sys.modules)"
    if process == "worker":
        program = f"import pipelines.worker, pipelines.tasks; {program}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "service", sorted((ROOT / "clinical/services").glob("*.py")), ids=lambda p: p.stem
)
def test_no_service_imports_a_service(service: Path) -> None:
    shared = {
        "ports",
        "messages",
        "delivery",
        "admission",
        "following",
        "marking",
        "reading_again",
        "retraction",
        "taking_back",
    }
    imported = {
        node.module.removeprefix("clinical.services.")
        for node in ast.walk(ast.parse(service.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clinical.services.")
    }
    assert imported <= shared


def test_nothing_reads_the_environment_but_the_settings() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for room in ("clinical", "adapters", "pipelines")
        for path in (ROOT / room).rglob("*.py")
        if "os.getenv" in path.read_text() or "environ.get" in path.read_text()
    ]
    assert readers == []
