"""What the code names, its README names; and names that the outside relies on are never taken away."""

import importlib
import pkgutil
from pathlib import Path

import pytest

import adapters
import clinical
import pipelines
from adapters.settings import Settings
from clinical.audit.entry import AuditKind
from clinical.errors import ClinicalError
from clinical.services.messages import MessageKind

ROOT = Path(__file__).parents[2]
ROOMS = {"clinical", "adapters", "pipelines"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "handler", "data", "info", "misc"}


def _every_error() -> set[type[ClinicalError]]:
    for package in (clinical, adapters, pipelines):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found: set[type[ClinicalError]] = set()
    pending: list[type[ClinicalError]] = [ClinicalError]
    while pending:
        error = pending.pop()
        found.add(error)
        pending.extend(error.__subclasses__())
    return {error for error in found if error.__module__.split(".")[0] in ROOMS}


def test_every_error_has_a_code_of_its_own_and_a_line_in_the_readme() -> None:
    errors = _every_error()
    codes = [error.code for error in errors]
    assert len(codes) == len(set(codes)), sorted(c for c in codes if codes.count(c) > 1)
    readme = "".join((ROOT / room / "README.md").read_text() for room in sorted(ROOMS))
    assert [code for code in sorted(codes) if f"`{code}`" not in readme] == []


@pytest.mark.parametrize("names", [AuditKind, MessageKind])
def test_every_kind_has_a_line_in_the_readme(names: type[AuditKind] | type[MessageKind]) -> None:
    readme = (ROOT / "clinical/README.md").read_text()
    assert [kind.value for kind in names if f"`{kind.value}`" not in readme] == []


def test_every_setting_has_a_line_in_the_readme() -> None:
    readme = (ROOT / "adapters/README.md").read_text()
    names = [f"CLINICAL_{name.upper()}" for name in Settings.model_fields]
    assert [name for name in names if f"`{name}`" not in readme] == []


def test_no_file_is_called_by_a_word_that_says_nothing() -> None:
    files = [
        p for room in ("clinical", "adapters", "pipelines") for p in (ROOT / room).rglob("*.py")
    ]
    assert [str(p.relative_to(ROOT)) for p in files if p.stem in FORBIDDEN_NAMES] == []


def test_every_file_says_what_it_knows() -> None:
    files = [
        p for room in ("clinical", "adapters", "pipelines") for p in (ROOT / room).rglob("*.py")
    ]
    assert [
        str(p.relative_to(ROOT)) for p in files if not p.read_text().lstrip().startswith('"""')
    ] == []
