"""Ours: the bulk lane, timelines, and the data set that `clinical meds export` writes; no database."""

import json
import os
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from uuid import UUID

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.fhir.files import deliveries
from adapters.fhir.reader import BulkReader
from adapters.meds.dataset import MedsDataset
from adapters.meds.pseudonyms import subject_id
from adapters.units import ucum_code
from clinical.timeline.event import Event
from clinical.timeline.timeline import Timeline


def convert(folder: Path, out: Path) -> int:
    """Write the data set; the number of its rows."""
    clock, reader = SystemClock(), BulkReader()
    found: defaultdict[UUID, list[Event]] = defaultdict(list)
    for each in deliveries(folder, site="bench", clock=clock, identities=TimeOrderedIdentities()):
        for event in reader.read(each).events:
            found[event.patient_id].append(event)
    data_set = MedsDataset(out, subject_of=partial(subject_id, bytes(32)), about={})
    for patient_id, events in found.items():
        data_set.add(Timeline.of(patient_id, events))
    return data_set.close(clock.now()).num_rows


def main() -> None:
    """Convert once, on one core, and tell how long it took."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ucum_code("mg")  # the table of units is loaded once, as imports are
    began = time.process_time()
    rows = convert(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(json.dumps({"seconds": time.process_time() - began, "rows": rows}))


if __name__ == "__main__":
    main()
