"""Model weights on disk, with all that is needed to know that they are what they claim to be.

A checkpoint is a folder: `weights.safetensors`, `vocabulary.json`, `calibration.json`, documents such
as the model card, and `manifest.json`, which holds the SHA-256 of every other file. This is the only
file of the project that reads or writes weights; safetensors is its format, nothing is unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from clinical.errors import RejectedError
from clinical.prediction.prediction import ModelFingerprint
from clinical.worldmodel.calibrated import Calibration
from clinical.worldmodel.config import CODE_VERSION, AbstentionLimits, ModelConfig
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.probe import Probes
from clinical.worldmodel.tensorize import Tensorizer
from clinical.worldmodel.vocabulary import Vocabulary

WEIGHTS, VOCABULARY, CALIBRATION = "weights.safetensors", "vocabulary.json", "calibration.json"
PROBES = "probes.json"  # absent where a model has none
MANIFEST = "manifest.json"
_FORMAT = 1
_NAMES = {"name", "version", "files", "config", "limits", "vocabulary_fingerprint"}


class MissingCheckpointError(RejectedError):
    """The folder holds no checkpoint, or a file of it is missing."""

    code = "worldmodel.missing_checkpoint"


class DamagedCheckpointError(RejectedError):
    """A file is not the one that the manifest names, or cannot be read as what it should be."""

    code = "worldmodel.damaged_checkpoint"


class VocabularyMismatchError(RejectedError):
    """The vocabulary is not the one that the weights were trained with."""

    code = "worldmodel.vocabulary_mismatch"


class IncompatibleCheckpointError(RejectedError):
    """The checkpoint was written by a version of the code that this one does not understand."""

    code = "worldmodel.incompatible_checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What is saved; `training` is told in the manifest as it is (plain values)."""

    name: str
    version: str
    model: Jepa
    vocabulary: Vocabulary
    calibration: Calibration
    limits: AbstentionLimits
    data_digest: str  # hex SHA-256 over the training patients' timelines
    training: Mapping[str, Any]
    probes: Probes = field(default_factory=Probes)


def save(
    folder: Path, checkpoint: Checkpoint, *, documents: Mapping[str, bytes] | None = None
) -> str:
    """Write the checkpoint into `folder`; returns the digest of its manifest.

    The manifest is written last: a folder without one is not a checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    model = checkpoint.model.served()
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    files = {
        WEIGHTS: save_tensors(state),
        VOCABULARY: checkpoint.vocabulary.to_json().encode(),
        CALIBRATION: checkpoint.calibration.to_json().encode(),
        **(documents or {}),
    }
    if checkpoint.probes != Probes():
        files[PROBES] = checkpoint.probes.to_json().encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = {
        "format": _FORMAT,
        "name": checkpoint.name,
        "version": checkpoint.version,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "config": model.config.to_json(),
        "limits": checkpoint.limits.to_json(),
        "vocabulary_fingerprint": checkpoint.vocabulary.fingerprint,
        "data_digest": checkpoint.data_digest,
        "code_version": code_version(),
        "torch_version": str(torch.__version__),
        "training": dict(checkpoint.training),
    }
    content = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    (folder / MANIFEST).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load(folder: Path, *, device: str = "cpu") -> Inference:
    """The model of a checkpoint, ready to answer, once every byte of it has been checked.

    Raises:
        MissingCheckpointError, DamagedCheckpointError, VocabularyMismatchError,
        IncompatibleCheckpointError
    """
    content = _read(folder, MANIFEST)
    manifest = _understood(content)
    files = {name: _verified(folder, name, digest) for name, digest in manifest["files"].items()}
    vocabulary = Vocabulary.from_json(files[VOCABULARY].decode())
    if vocabulary.fingerprint != manifest["vocabulary_fingerprint"]:
        raise VocabularyMismatchError("the vocabulary is not the one that the weights belong to")
    model = _model(manifest["config"], vocabulary, files[WEIGHTS])
    return Inference(
        model=model.to(device).eval().requires_grad_(requires_grad=False),
        tensorizer=Tensorizer(vocabulary, model.config.clock_days),
        calibration=Calibration.from_json(files[CALIBRATION].decode()),
        probes=Probes.from_json(files[PROBES].decode()) if PROBES in files else Probes(),
        limits=_limits(manifest["limits"]),
        fingerprint=ModelFingerprint(
            name=manifest["name"],
            version=manifest["version"],
            manifest_digest=hashlib.sha256(content).hexdigest(),
            vocabulary_digest=vocabulary.fingerprint,
        ),
        device=device,
        code_version=code_version(),
    )


def code_version() -> str:
    """The format that this code reads and writes, and twelve digits of the SHA-256 of its sources.

    The sources are all that an answer depends on besides the checkpoint and torch: timelines,
    predictions and this room. Equal versions promise equal answers, so nobody has to remember to
    raise a number.
    """
    domain = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for room in ("prediction", "timeline", "worldmodel"):
        for source in sorted((domain / room).glob("*.py")):
            digest.update(hashlib.sha256(source.read_bytes()).digest())
    return f"{CODE_VERSION}+{digest.hexdigest()[:12]}"


def _model(config: dict[str, Any], vocabulary: Vocabulary, weights: bytes) -> Jepa:
    try:
        model = Jepa(ModelConfig.from_json(config), vocabulary)
        model.load_state_dict(load_tensors(weights))
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
        raise DamagedCheckpointError("the weights do not fit the configuration") from error
    return model


def _limits(values: dict[str, Any]) -> AbstentionLimits:
    try:
        return AbstentionLimits.from_json(values)
    except TypeError as error:
        raise IncompatibleCheckpointError("the limits are not those of this version") from error


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise MissingCheckpointError(f"the checkpoint has no readable {name}") from error


def _verified(folder: Path, name: str, digest: str) -> bytes:
    content = _read(folder, name)
    if hashlib.sha256(content).hexdigest() != digest:
        raise DamagedCheckpointError(f"{name} is not the file that the manifest names")
    return content


def _understood(content: bytes) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(content)
        version, unnamed = manifest["format"], _NAMES - set(manifest)
        missing = {WEIGHTS, VOCABULARY, CALIBRATION} - set(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError("the manifest cannot be read") from error
    if version != _FORMAT:
        raise IncompatibleCheckpointError("the checkpoint has another format")
    if missing or unnamed:
        raise DamagedCheckpointError("the manifest does not name everything that it should")
    return manifest
