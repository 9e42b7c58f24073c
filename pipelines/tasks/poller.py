"""Polls the sites whose file says so, beside the relay: a thread for each, so that none waits for another.

Knows moments. That only one worker asks a site at a time is the storage's business.
"""

import threading
from collections.abc import Mapping

from adapters import telemetry
from adapters.assembly.asking import PulledSite
from adapters.assembly.worker import Parts
from clinical.errors import ClinicalError
from clinical.services.pulling import PullingService
from clinical.services.shedding import Shed
from pipelines.pulling.poll import Poller

_LOOK_SECONDS = 5.0
_LOG = telemetry.logger(__name__)


class PollRounds:
    """All polls of one worker."""

    def __init__(self, parts: Parts, polled: Mapping[str, PulledSite]) -> None:
        """Nothing is asked before `start`."""
        self.stopping = threading.Event()
        self._parts = parts
        self._polled = polled

    def start(self) -> None:
        """Begin, one thread a site."""
        for name, site in self._polled.items():
            threading.Thread(
                target=self._run, args=(name, site), name=f"poll-{name}", daemon=True
            ).start()

    def _run(self, name: str, site: PulledSite) -> None:
        while not self.stopping.is_set():
            try:
                self.turn(site)
            except Exception as error:  # noqa: BLE001 - the thread must not end with one bad answer
                _LOG.error("poll failed", site=name, **telemetry.error_fields(error))
            self.stopping.wait(_LOOK_SECONDS)

    def turn(self, site: PulledSite) -> None:
        """Ask for each type that is due; one that fails does not keep the others."""
        assert site.poll is not None
        poller = Poller(
            service=pulling_service(self._parts),
            asking=site.asking,
            poll=site.poll,
            clock=self._parts.clock,
            is_crowded=self._is_crowded,
        )
        for record_type in site.poll.types:
            if self.stopping.is_set():
                return
            try:
                report = poller.turn(record_type)
            except ClinicalError as error:
                _LOG.warning("poll failed", site=site.asking.site, **telemetry.error_fields(error))
                continue
            if report is not None and report.oddities:
                odd = ", ".join(sorted(report.oddities))
                _LOG.warning(f"a server answers otherwise than asked: {odd}", site=site.asking.site)

    def _is_crowded(self) -> bool:
        return not self.stopping.is_set() and self._parts.shedding.now() >= Shed.BACKFILL


def pulling_service(parts: Parts) -> PullingService:
    """The service on a worker's own connections."""
    return PullingService(
        open_unit_of_work=parts.open_unit_of_work,
        clock=parts.clock,
        identities=parts.identities,
        receive=parts.intake.receive,
    )
