"""What the tests of pulling stand on: a site's clients, storage in the test's database, and no real waiting."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, select

from adapters.assembly.asking import PulledSite, pulled_site
from adapters.clock import SystemClock
from adapters.db import tables
from adapters.db.pull_tables import bulk_jobs, polls
from adapters.egress.keys import KeyRing
from adapters.fhir.pulling.bulk import Scope
from adapters.sites.peers import Fhir, HeaderToken, Limits
from adapters.sites.pulling import Bulk, Poll
from adapters.sites.secret import Secret
from adapters.sites.site import Site
from clinical.audit.entry import Act, AuditKind
from clinical.services.pulling import PullingService
from pipelines.pulling.bulk import BulkPull
from pipelines.pulling.errand import BulkReport, Errand
from pipelines.pulling.poll import Poller
from tests.fakes import SettableClock
from tests.pipelines.importing_stage import Stage, stage_on
from tests.pipelines.pulling.ehr import Ehr

SITE = "north"
TOKEN = "Bearer only-for-the-ehr"


@dataclass(kw_only=True)
class PullStage:
    """One site, and a database behind it. `slept` are the pauses that were made, in seconds."""

    stage: Stage
    site: PulledSite
    service: PullingService
    clock: SettableClock
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Let the time pass, and no test wait for it."""
        self.slept.append(seconds)
        self.clock.advance(timedelta(seconds=seconds))

    def pull(
        self, *, watch: Callable[[BulkReport], None] = lambda _: None, scope: Scope | None = None
    ) -> BulkPull:
        """A bulk export of all patients."""
        errand = Errand(
            service=self.service,
            site=self.site,
            clock=self.clock,
            identities=self.stage.intake.identities,
            watch=watch,
            sleep=self.sleep,
        )
        return BulkPull(errand=errand, scope=scope or Scope())

    def poller(self) -> Poller:
        """A poller by what the site states."""
        assert self.site.poll is not None
        return Poller(
            service=self.service,
            asking=self.site.asking,
            poll=self.site.poll,
            clock=self.clock,
            sleep=self.sleep,
        )

    def understand(self) -> None:
        """What the workers do with everything that was stored."""
        columns = tables.deliveries.c
        with self.stage.engine.connect() as connection:
            query = select(columns.delivery_id).where(columns.recorded_at.is_(None))
            waiting = list(connection.scalars(query.order_by(columns.delivery_id)))
        for each in waiting:
            self.stage.intake.record(each, Act(actor="test", at=SystemClock().now()))

    def records(self) -> set[tuple[str, str, str]]:
        """Type, id and digest of every record of which there are events."""
        return {(each.type, each.id, each.digest) for each in self._events()}

    def events(self) -> set[UUID]:
        """Every event."""
        return {each.event_id for each in self._events()}

    def _events(self) -> list[Any]:
        c = tables.events.c
        with self.stage.engine.connect() as connection:
            columns = c.event_id, c.record_type.label("type"), c.record_id.label("id"), c.digest
            return list(connection.execute(select(*columns)))

    def reasons(self) -> list[str]:
        """Why records were set aside."""
        return sorted(each.reason_code for each in self.stage.quarantined())

    def jobs(self) -> list[str]:
        """The state of every job, in the order of their beginning."""
        with self.stage.engine.connect() as connection:
            return list(connection.scalars(select(bulk_jobs.c.state).order_by(bulk_jobs.c.job_id)))

    def watermark(self, record_type: str = "Observation") -> Any:
        """Up to where is known to be stored."""
        with self.stage.engine.connect() as connection:
            query = select(polls.c.watermark).where(
                polls.c.site == self.site.asking.site, polls.c.record_type == record_type
            )
            return connection.scalar(query)

    def pulled(self) -> list[dict[str, str]]:
        """What the audit log says of pulls, the oldest first."""
        c = tables.audit_entries.c
        with self.stage.engine.connect() as connection:
            query = select(c.refs).where(c.kind == AuditKind.EHR_PULLED.value)
            return list(connection.scalars(query.order_by(c.at, c.entry_id)))


def pull_stage(
    engine: Engine,
    ehr: Ehr,
    folder: Path,
    *,
    limits: Limits | None = None,
    bulk: Bulk | None = None,
    poll: Poll | None = None,
    also: tuple[str, ...] = (),
    name: str = SITE,
) -> PullStage:
    """A site whose EHR is this one, with a token that must go nowhere else."""
    stage = stage_on(engine)
    clock = SettableClock(SystemClock().now())
    stage = replace(stage, intake=replace(stage.intake, clock=clock))
    stated = Site(
        fhir=Fhir(
            base_url=ehr.url,
            also=also,
            auth=HeaderToken(name="Authorization", value=Secret(TOKEN)),
            limits=limits or Limits(timeout_seconds=5.0, max_pause_seconds=3600.0),
        ),
        bulk=bulk or Bulk(),
        poll=poll,
    )
    keys = KeyRing(folder / secrets.token_hex(4), clock)
    return PullStage(
        stage=stage,
        site=pulled_site(name, stated, keys, clock, stage.intake.identities),
        service=PullingService(
            open_unit_of_work=stage.open_unit_of_work,
            clock=clock,
            identities=stage.intake.identities,
            receive=stage.intake.receive,
        ),
        clock=clock,
    )
