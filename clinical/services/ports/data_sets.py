"""Where whole timelines go when they leave the service."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from clinical.timeline.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written; `digest` is the hex SHA-256 over the names of the files and their digests."""

    num_subjects: int
    num_rows: int
    num_files: int
    digest: str


class DataSet(Protocol):
    """A data set while it is written; it is there whole, or not at all."""

    def add(self, timeline: Timeline) -> None:
        """Write what stands of a patient."""
        ...

    def close(self, at: datetime) -> Exported: ...

    def abandon(self) -> None: ...
