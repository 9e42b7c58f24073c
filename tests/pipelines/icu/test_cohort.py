"""The challenge as patients to train on: asked within the record, with the outcome told beside it."""

import tarfile
from io import BytesIO
from pathlib import Path

import pytest
import torch

from adapters.units import conversion
from clinical.prediction.horizon import UNTIL_DISCHARGE
from clinical.worldmodel.fitting import fit
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.icu.cohort import (
    ADMISSION_DAY,
    RECORDED_HOURS,
    HourlyLessons,
    MissingChallengeError,
    cohort,
    draw_hours,
    value_days,
)
from pipelines.training.dataset import case_of
from pipelines.training.recipes import recipe

_NUM_STAYS = 6


def write_challenge(folder: Path, *, num_stays: int, num_hours: int) -> None:
    """A set-a of a few stays, a heart rate every hour; the even ones died."""
    with tarfile.open(folder / "set-a.tar.gz", "w:gz") as archive:
        for number in range(num_stays):
            facts = (("RecordID", 100 + number), ("Age", 60), ("Gender", 1))
            rows = [f"00:00,{name},{value}" for name, value in facts]
            rows += [f"{h:02d}:30,HR,{70 + number % 7 + h % 5}" for h in range(num_hours)]
            content = "\n".join(["Time,Parameter,Value", *rows]).encode()
            member = tarfile.TarInfo(f"set-a/{100 + number}.txt")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    lines = ["RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"]
    lines += [f"{100 + n},6,1,5,-1,{int(n % 2 == 0)}" for n in range(num_stays)]
    (folder / "Outcomes-a.txt").write_text("\n".join(lines))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_challenge(tmp_path, num_stays=_NUM_STAYS, num_hours=48)
    return tmp_path


def test_a_cohort_has_every_stay_and_its_outcome(folder: Path) -> None:
    timelines, num_refused, setting = cohort(folder)
    assert (len(timelines), num_refused) == (_NUM_STAYS, 0)
    assert setting.labelled is not None
    assert setting.labelled.horizon == UNTIL_DISCHARGE
    labels = setting.labelled.labels
    assert sum(labels[timeline.patient_id] for timeline in timelines) == _NUM_STAYS / 2


def test_a_folder_without_the_challenge_is_refused_by_name(folder: Path) -> None:
    (folder / "Outcomes-a.txt").unlink()
    with pytest.raises(MissingChallengeError):
        cohort(folder)


def test_a_lesson_asks_within_the_record_and_follows_it_no_further(folder: Path) -> None:
    timelines, _, _ = cohort(folder)
    chosen = recipe("icu-small")
    vocabulary = fit(timelines, conversion, config=chosen.vocabulary)
    tensorizer = Tensorizer(vocabulary, chosen.model.clock_days)
    cases = [case for t in timelines if (case := case_of(t, tensorizer)) is not None]
    lessons = HourlyLessons(chosen, cases, tensorizer)
    lesson = lessons(torch.Generator().manual_seed(3))
    assert len(lesson.row) == _NUM_STAYS * chosen.questions_per_patient
    hours = (lesson.day - ADMISSION_DAY) * 24
    assert float(hours.min()) >= 1
    assert float(hours.max()) <= RECORDED_HOURS
    assert torch.equal(lessons(torch.Generator().manual_seed(3)).day, lesson.day)
    last = 47.5 - hours  # the last heart rate
    assert torch.allclose(lesson.followed_days.double() * 24, last, atol=1e-3)


def test_half_of_the_moments_are_early() -> None:
    hours = draw_hours(4000, torch.Generator().manual_seed(0))
    share = float((hours < 6).double().mean())
    assert 0.2 < share < 0.4  # uniform alone: .1


def test_values_are_asked_where_the_next_day_is_on_record(folder: Path) -> None:
    days = torch.tensor(value_days(None))  # type: ignore[arg-type]
    assert float((days.max() - ADMISSION_DAY) * 24) <= RECORDED_HOURS - 24 + 0.1
