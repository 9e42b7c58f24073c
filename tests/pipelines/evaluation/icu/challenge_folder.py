"""A folder in the layout of the PhysioNet 2012 challenge, of made-up stays: the worse ones die."""

from pathlib import Path

import numpy as np

_LEVELS = {"HR": (85, 15), "MAP": (80, 10), "SysABP": (120, 15), "Temp": (37, 0.6), "GCS": (13, 2)}
_LABS = {"K": (4.1, 0.5), "Creatinine": (1.2, 0.4), "HCT": (31, 4), "Lactate": (2, 0.8)}


def write_folder(folder: Path, *, num_learned: int, num_asked: int) -> Path:
    """Two sets and their outcomes."""
    sets = (
        ("set-a", "Outcomes-a.txt", num_learned),
        ("set-b-open", "Outcomes-b-open.txt", num_asked),
    )
    for number, (name, outcomes, size) in enumerate(sets):
        generator = np.random.default_rng(number)
        lines = ["RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"]
        for stay in range(size):
            record_id = 100_000 * (number + 1) + stay
            severity = float(generator.normal())
            path = folder / name / f"{record_id}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_stay(record_id, severity, generator), "ascii")
            died = int(severity + generator.normal() > 0.6)
            lines.append(f"{record_id},{10 + died},{5 + died},{9},{3 if died else -1},{died}")
        (folder / outcomes).write_text("\n".join(lines) + "\n", "ascii")
    return folder


def _stay(record_id: int, severity: float, generator: np.random.Generator) -> str:
    rows = ["Time,Parameter,Value", f"00:00,RecordID,{record_id}", "00:00,Age,66"]
    rows += [f"00:00,Gender,{record_id % 2}", "00:00,Height,-1", "00:00,ICUType,3"]
    for hour in range(1, 48):
        for known, every in ((_LEVELS, 3), (_LABS, 8)):
            if hour % every:
                continue
            for name, (mean, sd) in known.items():
                value = mean + sd * (0.6 * severity + 0.5 * generator.normal())
                rows.append(f"{hour:02d}:{generator.integers(60):02d},{name},{max(3, value):.2f}")
    return "\n".join(rows) + "\n"
