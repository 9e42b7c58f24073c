"""The README promises nothing that is not there; `clinical demo --once` itself runs in the journeys."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
_CODE = "\n".join(
    re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    + re.findall(r"`([^`\n]+)`", README)
)
COMMANDS = sorted(
    set(re.findall(r"clinical ((?:clinician |ledger |models |pull |quarantine )?[a-z]+)", _CODE))
)
OPTIONS = sorted(
    set(
        re.findall(
            r"clinical ((?:clinician |ledger |models |pull |quarantine )?[a-z]+) [^#\n]*?(--[a-z-]+)",
            _CODE,
        )
    )
)
TARGETS = sorted(set(re.findall(r"make ([a-z]+)", _CODE)))


def test_the_readme_shows_commands_and_targets() -> None:
    assert {"demo", "web", "worker", "model", "import", "audit"} <= set(COMMANDS)
    assert {"demo", "test", "setup", "check"} <= set(TARGETS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_it_shows_exists_and_explains_itself(command: str) -> None:
    shown = _help(command)
    assert f"clinical {command}" in shown
    for of, option in OPTIONS:
        assert of != command or option in shown


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_it_shows_can_be_made(target: str) -> None:
    planned = ["make", "--dry-run", "--directory", str(ROOT), target]
    assert subprocess.run(planned, capture_output=True, check=False).returncode == 0


def test_every_file_it_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def _help(command: str) -> str:
    program = [str(Path(sys.executable).with_name("clinical")), *command.split(), "--help"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
