"""What `clinical meds export` works with: the stored site, and a data set to be written."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from adapters.assembly.database import database_url
from adapters.assembly.keys import data_set_key
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.engine import create_engine
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.meds.dataset import MedsDataset
from adapters.meds.pseudonyms import subject_id
from adapters.settings import Settings
from clinical.services.exporting import ExportService


@contextmanager
def exporting(
    folder: Path, data_dir: Path | None = None
) -> Iterator[tuple[ExportService, MedsDataset]]:
    """The service, and the data set that it will write to `folder`.

    Raises:
        StorageUnavailableError, PlaceTakenError
    """
    settings = Settings()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    key = base64.b64decode(data_set_key(settings))
    data_set = MedsDataset(
        folder.absolute(),
        subject_of=partial(subject_id, key),
        about={"dataset_name": folder.name, "etl_version": version("clinical-jepa")},
    )
    try:
        with database_url(settings) as url:
            engine = create_engine(url, pool_size=2)
            service = ExportService(
                open_unit_of_work=unit_of_work_factory(engine),
                clock=SystemClock(),
                identities=TimeOrderedIdentities(),
            )
            try:
                yield service, data_set
            finally:
                engine.dispose()
    except BaseException:
        data_set.abandon()
        raise
