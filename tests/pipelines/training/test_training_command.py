"""`clinical train` on files of one's own."""

from itertools import islice
from pathlib import Path

from typer.testing import CliRunner

from clinical.worldmodel import checkpoint
from pipelines.cli import app
from pipelines.samples import training_bundles


def test_it_trains_on_given_files_and_says_where_the_checkpoint_is(tmp_path: Path):
    patients = tmp_path / "patients"
    patients.mkdir()
    for place, (_, body) in enumerate(islice(training_bundles(), 24)):
        (patients / f"{place}.json").write_bytes(body)
    out = tmp_path / "model"
    order = ["train", "--patients", str(patients), "--steps", "2", "--out", str(out)]
    order += ["--name", "mine"]
    refused = CliRunner().invoke(app, order)
    assert refused.exit_code == 1  # two steps teach nothing
    assert "training.unhealthy_model" in refused.output
    assert not (out / "manifest.json").exists()
    result = CliRunner().invoke(app, [*order, "--allow-unhealthy"])
    assert result.exit_code == 0, result.output
    assert "decisive" in result.output
    assert "24 patients" in result.output
    assert "manifest" in result.output
    assert checkpoint.load(out).fingerprint.name == "mine"
    assert "given by whoever ran" in (out / "MODEL_CARD.md").read_text()


def test_an_unknown_recipe_is_refused_by_name(tmp_path: Path):
    result = CliRunner().invoke(app, ["train", "--recipe", "huge", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "training.unknown_recipe" in result.output
