"""From a folder of the challenge to a checkpoint that says a calibrated risk of death in hospital."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical.prediction.horizon import UNTIL_DISCHARGE
from clinical.prediction.readout import ReadoutKind
from clinical.worldmodel.checkpoint import load
from clinical.worldmodel.config import AbstentionLimits
from pipelines.cli import app
from pipelines.icu.cohort import ADMISSION_DAY, cohort
from pipelines.training.about import INTENSIVE_CARE
from pipelines.training.dataset import moment_of
from pipelines.training.recipes import recipe
from pipelines.training.run import Assignment, run
from tests.clinical.worldmodel.patients import question
from tests.pipelines.icu.test_cohort import write_challenge


def test_a_cohort_becomes_a_checkpoint_with_probes_a_card_and_no_visits(tmp_path: Path) -> None:
    write_challenge(tmp_path, num_stays=90, num_hours=12)
    timelines, _, setting = cohort(tmp_path)
    base = recipe("icu-small", num_steps=3)
    tiny = replace(
        base,
        model=replace(base.model, width=16, latent=8, num_heads=2, num_attention_heads=2),
        limits=AbstentionLimits(min_events=5, max_familiarity=1e9, max_head_range=1.0),
        patients_per_step=16,
    )
    out = tmp_path / "checkpoint"
    assignment = Assignment(
        recipe=tiny,
        timelines=timelines,
        out=out,
        name="tiny",
        about=INTENSIVE_CARE,
        setting=setting,
        may_be_unhealthy=True,
    )
    _, report = run(assignment)
    assert [told.hour for told in report.outcomes] == [12.0, 24.0, 36.0, 48.0]
    assert report.risks == []
    card = (out / "MODEL_CARD.md").read_text("utf-8")
    assert "Death in hospital, until discharge" in card
    assert "## Risks" not in card
    assert "calibration.svg" in json.loads((out / "manifest.json").read_text())["files"]
    request, timeline = question(timelines[0])
    asked = replace(request, as_of=moment_of(ADMISSION_DAY + 0.5))
    (forecast,) = load(out).forecast([(asked, timeline)])
    (death,) = [r for r in forecast.readouts if r.kind is ReadoutKind.PROBABILITY]
    assert (death.name, death.horizon) == ("Death in hospital", UNTIL_DISCHARGE)
    assert death.estimate is not None
    assert death.reliability is not None


@pytest.mark.parametrize("command", [["train", "--recipe", "icu-small", "--data"]])
def test_a_folder_without_the_challenge_ends_the_command_with_its_name(
    command: list[str], tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, [*command, str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "icu.missing_challenge" in done.output
