"""J4: what is stored of a patient is erased, and the log that told of it stays provable."""

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.services.ports import Clock, Erased, Identities, OpenUnitOfWork, UnitOfWork
from clinical.timeline.patient import PatientRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was erased, and when. `salt` opens the entry's commitment to the patient; nobody else keeps it."""

    entry_id: UUID
    at: datetime
    salt: bytes
    erased: Erased


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureService:
    """Erases patients."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities

    def extent(self, patient: PatientRef) -> Erased:
        """What would be erased; raises NotFoundError."""
        with self.open_unit_of_work() as uow:
            uow.timelines.patient(patient.patient_id)
            return uow.erasure.extent(_person(uow, patient))

    def erase(self, patient: PatientRef, by: str) -> Certificate:
        """Erase in one commit with the audit entry that says so; it counts, and names nobody.

        The records merged with that of the patient go with it, whichever of them is named.

        What comes of the patient afterwards is taken in as of somebody new.

        Raises:
            NotFoundError: nothing is known of the patient.
        """
        act, salt = Act(actor=by, at=self.clock.now()), self.identities.salt()
        with self.open_unit_of_work() as uow:
            uow.timelines.patient(patient.patient_id)
            person = _person(uow, patient)
            extent = uow.erasure.extent(person)
            content = {"patient": patient.patient_id}
            entry = act.sealing(
                self.identities.new(), AuditKind.PATIENT_ERASED, salt, content, **asdict(extent)
            )
            uow.audit_log.append(entry.without_salt)
            uow.erasure.erase(person, act.at)
            uow.commit()
        return Certificate(entry_id=entry.entry_id, at=act.at, salt=salt, erased=extent)


def _person(uow: UnitOfWork, patient: PatientRef) -> frozenset[UUID]:
    """Every record of the person; nobody is merged with them until the transaction ends."""
    uow.retractions.lock(alone=True)
    merges = uow.retractions.merges([patient.patient_id])
    lead = merges.lead(patient.patient_id)
    return frozenset({lead, *merges.under(lead)})
