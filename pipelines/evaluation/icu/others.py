"""What the other networks of the table are asked: a transformer's last hidden state, GRU-D's hourly grid."""

import numpy as np
import torch
from torch import Tensor

from pipelines.evaluation.baselines import gru_d
from pipelines.evaluation.baselines.next_event import NextEvent
from pipelines.evaluation.figures import Floats
from pipelines.evaluation.icu.lessons import ADMISSION_DAY, RECORDED_HOURS
from pipelines.evaluation.icu.stays import StaySet
from pipelines.evaluation.icu.summaries import demographics


@torch.no_grad()
def last_hidden(model: NextEvent, stays: StaySet, places: Tensor, device: str) -> Floats:
    """At the end of the record, a row a stay."""
    found = []
    for chunk in torch.split(places, 50):
        row = torch.arange(len(chunk))
        day = torch.full((len(chunk),), ADMISSION_DAY + RECORDED_HOURS / 24, dtype=torch.float64)
        batch = stays.joined(chunk.tolist()).to(device)
        found.append(model.states(batch, row.to(device), day.to(device)))
    table: Floats = torch.cat(found).double().cpu().numpy()
    return table


def grid_of(stays: StaySet, places: Tensor) -> gru_d.Grid:
    """The hours of each stay, and its demographics, centred."""
    about = demographics(stays, places)
    centred = torch.from_numpy(np.nan_to_num(about)).float()
    centred[:, 0] = (centred[:, 0] - 65) / 17
    return gru_d.grid_of(
        stays.joined(places.tolist()),
        len(stays.vocabulary.numeric),
        ADMISSION_DAY,
        int(RECORDED_HOURS),
        centred,
    )
