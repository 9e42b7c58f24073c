"""Checkpoints: the same bits come back, and what is not what it claims to be is refused."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clinical.errors import ClinicalError
from clinical.worldmodel import checkpoint
from clinical.worldmodel.calibrated import Calibration, MalformedCalibrationError
from clinical.worldmodel.checkpoint import Checkpoint
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.vocabulary import MalformedVocabularyError, Vocabulary
from tests.clinical.worldmodel.patients import living, question

PEOPLE = living(range(6))


@pytest.fixture
def saved(
    tmp_path: Path, model: Jepa, vocabulary: Vocabulary, calibration: Calibration
) -> tuple[Path, str]:
    folder = tmp_path / "checkpoint"
    what = Checkpoint(
        name="small",
        version="3",
        model=model,
        vocabulary=vocabulary,
        calibration=calibration,
        limits=AbstentionLimits(max_head_range=1.0, max_head_share=1e9, max_unseen_code_share=0.6),
        data_digest="d" * 64,
        training={"steps": 0},
    )
    return folder, checkpoint.save(folder, what, documents={"MODEL_CARD.md": b"# small\n"})


def test_saved_and_loaded_the_model_gives_the_same_bits(
    saved: tuple[Path, str], inference: Inference
):
    folder, digest = saved
    loaded = checkpoint.load(folder)
    for (name, one), other in zip(
        inference.model.state_dict().items(), loaded.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    asked = [question(timeline) for timeline in PEOPLE]
    ours = [f.output_digest for f in inference.forecast(asked)]
    assert [f.output_digest for f in loaded.forecast(asked)] == ours
    assert loaded.fingerprint.manifest_digest == digest
    assert loaded.fingerprint.name == "small"
    assert loaded.calibration == inference.calibration


def test_saving_the_same_model_twice_gives_the_same_bytes(saved: tuple[Path, str], tmp_path: Path):
    folder, digest = saved
    loaded = checkpoint.load(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    again = Checkpoint(
        name="small",
        version="3",
        model=loaded.model,
        vocabulary=loaded.tensorizer.vocabulary,
        calibration=loaded.calibration,
        limits=loaded.limits,
        data_digest=manifest["data_digest"],
        training=manifest["training"],
    )
    documents = {"MODEL_CARD.md": b"# small\n"}
    assert checkpoint.save(tmp_path / "again", again, documents=documents) == digest


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "vocabulary.json", "calibration.json", "MODEL_CARD.md"]
)
def test_a_flipped_byte_anywhere_is_refused(saved: tuple[Path, str], name: str):
    path = saved[0] / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(checkpoint.DamagedCheckpointError, match=name):
        checkpoint.load(saved[0])


def test_of_two_hundred_flipped_bytes_of_the_weights_none_is_served(saved: tuple[Path, str]):
    path = saved[0] / "weights.safetensors"
    content, chances = path.read_bytes(), random.Random(8)
    for place in chances.sample(range(len(content)), 200):
        flipped = content[place] ^ chances.randrange(1, 256)
        path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        with pytest.raises(checkpoint.DamagedCheckpointError, match="weights"):
            checkpoint.load(saved[0])


def test_a_model_that_serves_does_not_notice_its_files_being_swapped(saved: tuple[Path, str]):
    """They were read whole and checked before: what answers is what the fingerprint names."""
    loaded = checkpoint.load(saved[0])
    asked = [question(timeline) for timeline in PEOPLE[:2]]
    before = loaded.forecast(asked)
    for name in ("weights.safetensors", "manifest.json"):
        (saved[0] / name).write_bytes(b"something else")
    assert loaded.forecast(asked) == before
    with pytest.raises(checkpoint.DamagedCheckpointError):
        checkpoint.load(saved[0])


def test_a_flipped_byte_of_the_manifest_is_refused_or_changes_the_fingerprint(
    saved: tuple[Path, str],
):
    path, digest = saved[0] / "manifest.json", saved[1]
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            found = checkpoint.load(saved[0]).fingerprint.manifest_digest
        except ClinicalError:
            continue
        assert found != digest


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
def test_a_missing_file_is_named(saved: tuple[Path, str], name: str):
    (saved[0] / name).unlink()
    with pytest.raises(checkpoint.MissingCheckpointError, match=name):
        checkpoint.load(saved[0])


def test_another_vocabulary_is_refused(saved: tuple[Path, str], vocabulary: Vocabulary):
    """Even one that is whole and of the same size, whose digest the manifest was made to name."""
    folder, _ = saved
    entries = list(vocabulary.entries)
    entries[0], entries[1] = entries[1], entries[0]
    other = replace(vocabulary, entries=tuple(entries))
    rewrite(folder, "vocabulary.json", other.to_json().encode())
    with pytest.raises(checkpoint.VocabularyMismatchError):
        checkpoint.load(folder)


def test_weights_of_another_shape_are_refused(saved: tuple[Path, str]):
    folder, _ = saved
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["width"] = 32
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(checkpoint.DamagedCheckpointError, match="configuration"):
        checkpoint.load(folder)


def test_another_format_is_refused(saved: tuple[Path, str]):
    folder, _ = saved
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(checkpoint.IncompatibleCheckpointError):
        checkpoint.load(folder)


def test_what_is_no_vocabulary_or_calibration_is_named():
    for text in ("", "[]", "{}", '{"entries": 3}'):
        with pytest.raises(MalformedVocabularyError):
            Vocabulary.from_json(text)
        with pytest.raises(MalformedCalibrationError):
            Calibration.from_json(text)


def rewrite(folder: Path, name: str, content: bytes) -> None:
    import hashlib

    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
