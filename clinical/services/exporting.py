"""J4: what stands of many patients leaves the service as a data set, and the log says so."""

from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.services.ports import (
    Clock,
    DataSet,
    Exported,
    Identities,
    OpenUnitOfWork,
    UnitOfWork,
)
from clinical.timeline.timeline import Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Which timelines: of one `site` or of all (empty), as they were known at `as_of` or as they stand."""

    site: str = ""
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportService:
    """Reads timelines out, one after the other."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities

    def export(self, extent: Extent, into: DataSet, by: str) -> Exported:
        """Write every timeline in which something stands; the audit entry counts, and names nobody.

        An export that breaks off is told in the log too: what was read was read. Then nothing is left
        of the data set.
        """
        num_read = 0
        try:
            with self.open_unit_of_work() as uow, closing(uow.timelines.patient_ids()) as ids:
                for patient_id in ids:
                    timeline = _wanted(uow, patient_id, extent)
                    if timeline is not None and len(timeline):
                        into.add(timeline)
                        num_read += 1
            exported = into.close(self.clock.now())
        except BaseException:
            into.abandon()
            self._tell(extent, by, {}, subjects=num_read, outcome="broken_off")
            raise
        told = {
            name.removeprefix("num_"): count
            for name, count in asdict(exported).items()
            if name != "digest"
        }
        self._tell(extent, by, {"digest": exported.digest}, **told, outcome="done")
        return exported

    def _tell(self, extent: Extent, by: str, content: dict[str, object], **refs: object) -> None:
        act = Act(actor=by, at=self.clock.now())
        as_of = extent.as_of.isoformat() if extent.as_of is not None else "all"
        new = self.identities
        with self.open_unit_of_work() as uow:
            uow.audit_log.append(
                act.sealing(
                    new.new(),
                    AuditKind.TIMELINES_EXPORTED,
                    new.salt(),
                    content,
                    **refs,
                    site=extent.site or "all",
                    as_of=as_of,
                )
            )
            uow.commit()


def _wanted(uow: UnitOfWork, patient_id: UUID, extent: Extent) -> Timeline | None:
    if extent.site and uow.timelines.patient(patient_id).site != extent.site:
        return None
    timeline = uow.timelines.of(patient_id)
    return timeline if extent.as_of is None else timeline.cut(extent.as_of)
