"""What is remembered, as bytes: the same for the same contents, and refused wherever they do not fit.

A line that names the format, a line of JSON (who made it, whose it is, sizes, counts), then numbers,
little-endian: the network's memory `[J, D]` and static part `[D]` as float32, the running statistics
`[S, 9]` as float64, and the identities of the newest values, 16 bytes each.
"""

import hashlib
import json
import struct
from dataclasses import asdict, dataclass, fields
from typing import Any
from uuid import UUID

import torch
from torch import Tensor

from clinical.prediction.memory import DamagedMemoryError, ForeignMemoryError, PatientMemory
from clinical.timeline.chain import Prefix
from clinical.worldmodel.jepa import Remembered
from clinical.worldmodel.remembering import Counts, Past
from clinical.worldmodel.statistics import NUM_RUNNING, Running
from clinical.worldmodel.tally import Tally

_FORMAT = b"clinical-jepa patient memory 1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """All on which the bits of a memory depend, apart from the events."""

    manifest_digest: str
    vocabulary_digest: str
    clock_days: float
    code_version: str
    torch_version: str
    device: str


def stored(past: Past, patient_id: UUID, maker: Maker) -> PatientMemory:
    """What is remembered, sealed; something must have been read."""
    data = _packed(past, patient_id, maker)
    return PatientMemory(
        patient_id=patient_id,
        manifest_digest=maker.manifest_digest,
        prefix=past.prefix,
        code_version=maker.code_version,
        torch_version=maker.torch_version,
        device=maker.device,
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
    )


def restored(memory: PatientMemory, patient_id: UUID, maker: Maker, device: str) -> Past:
    """What was remembered, for a reader that is `maker`.

    Raises:
        DamagedMemoryError: the bytes are not those sealed, or of other events or another patient.
        ForeignMemoryError: a maker other than the reader.
    """
    if not memory.is_intact or not memory.data.startswith(_FORMAT):
        raise DamagedMemoryError("the memory is not as it was sealed")
    try:
        head, body = memory.data.removeprefix(_FORMAT).split(b"\n", 1)
        header = json.loads(head)
        _require_same(Maker(**header["maker"]), maker)
        past = _unpacked(header, body, memory.prefix, device)
    except (ValueError, KeyError, TypeError, struct.error):
        raise DamagedMemoryError("the memory is not laid out as this code writes it") from None
    if header["patient"] != str(patient_id) or header["prefix"] != _named(memory.prefix):
        raise DamagedMemoryError("the memory is not of these events")
    return past


def _packed(past: Past, patient_id: UUID, maker: Maker) -> bytes:
    remembered, tally = past.remembered, past.tally
    assert remembered is not None, "something was read"
    series, valued = sorted(tally.running), sorted(past.values)
    header = {
        "maker": asdict(maker),
        "patient": str(patient_id),
        "prefix": _named(past.prefix),
        "counts": asdict(past.counts),
        "shape": list(remembered.memory.shape[1:]),
        "series": series,
        "values": [[place, len(past.values[place])] for place in valued],
        "conditions": sorted(tally.conditions),
        "birth_day": tally.birth_day.hex(),
        "last_day": tally.last_day.hex(),
    }
    numbers = [number for place in series for number in tally.running[place].numbers()]
    named = [event_id.bytes for place in valued for event_id in past.values[place]]
    return b"".join(
        [
            _FORMAT,
            json.dumps(header, sort_keys=True, separators=(",", ":")).encode(),
            b"\n",
            _floats(remembered.memory),
            _floats(remembered.static),
            struct.pack(f"<{len(numbers)}d", *numbers),
            *named,
        ]
    )


def _unpacked(header: dict[str, Any], body: bytes, prefix: Prefix, device: str) -> Past:
    layers, width = header["shape"]
    series, valued = header["series"], header["values"]
    num_named = sum(count for _, count in valued)
    sizes = [4 * layers * width, 4 * width, 8 * NUM_RUNNING * len(series), 16 * num_named]
    memory, static, running, named = _cut(body, sizes)
    numbers = list(struct.iter_unpack(f"<{NUM_RUNNING}d", running))
    event_ids = iter([UUID(bytes=named[at : at + 16]) for at in range(0, len(named), 16)])
    return Past(
        prefix=prefix,
        remembered=Remembered(
            _tensor(memory, (1, layers, width), device), _tensor(static, (1, width), device)
        ),
        tally=Tally(
            running={p: Running.restored(list(n)) for p, n in zip(series, numbers, strict=True)},
            conditions=set(header["conditions"]),
            birth_day=float.fromhex(header["birth_day"]),
            last_day=float.fromhex(header["last_day"]),
        ),
        values={place: tuple(next(event_ids) for _ in range(count)) for place, count in valued},
        counts=Counts(**header["counts"]),
    )


def _require_same(made_by: Maker, reader: Maker) -> None:
    others = [
        field.name.removesuffix("_digest").replace("_", " ")
        for field in fields(Maker)
        if getattr(made_by, field.name) != getattr(reader, field.name)
    ]
    if others:
        raise ForeignMemoryError(f"the memory was made by another {', '.join(others)}")


def _named(prefix: Prefix) -> list[Any]:
    until = prefix.known_until
    moment = None if until is None else until.isoformat()
    return [prefix.num_blocks, prefix.num_events, moment, prefix.digest]


def _cut(body: bytes, sizes: list[int]) -> list[bytes]:
    if len(body) != sum(sizes):
        raise ValueError("the numbers do not fit the stated sizes")
    pieces, start = [], 0
    for size in sizes:
        pieces.append(body[start : start + size])
        start += size
    return pieces


def _floats(numbers: Tensor) -> bytes:
    flat = numbers.detach().cpu().flatten().tolist()
    return struct.pack(f"<{len(flat)}f", *flat)


def _tensor(data: bytes, shape: tuple[int, ...], device: str) -> Tensor:
    numbers = struct.unpack(f"<{len(data) // 4}f", data)
    return torch.tensor(numbers, dtype=torch.float32, device=device).reshape(shape)
