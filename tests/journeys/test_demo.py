"""The whole system as a newcomer meets it."""

import re
from pathlib import Path

import pytest

from tests.stack import Started

pytestmark = pytest.mark.integration


def figures_of(text: str) -> dict[str, str]:
    """The lines of the printed table by name."""
    names = "Patients|Events|Quarantined|Predictions|of the past|Abstained|Reviews|Given up"
    rows = rf"^ *({names}|Audit entries|Audit root) +(\S+) *$"
    return dict(re.findall(rows, text, re.MULTILINE))


def test_the_demo_brings_every_patient_to_a_review_leaves_no_process_and_repeats_itself(
    tmp_path: Path,
) -> None:
    with Started(["demo", "--once"], tmp_path) as first:
        assert first.stop(number=None, seconds=300) == 0, first.text()
        assert first.wait_until_none_is_alive(seconds=5) == []
        figures = figures_of(first.text())
    assert figures["Patients"] == "40"
    assert figures["Reviews"] == "40"
    assert figures["Given up"] == "0"
    assert int(figures["Events"].replace(",", "")) > 10_000
    predictions, of_the_past = int(figures["Predictions"]), int(figures["of the past"])
    assert predictions - of_the_past == 40
    assert of_the_past > 20
    assert int(figures["Abstained"]) < predictions
    assert re.fullmatch(r"[0-9a-f]{64}", figures["Audit root"])
    with Started(["demo", "--once"], tmp_path) as again:
        assert again.stop(number=None, seconds=300) == 0, again.text()
        assert again.wait_until_none_is_alive(seconds=5) == []
        assert figures_of(again.text()) == figures
    password = re.compile(r"password +(\S+)")
    assert password.findall(first.text()) == password.findall(again.text())
