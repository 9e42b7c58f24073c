"""Whatever changes while it is polled, and wherever a poll breaks off: the newest of everything is stored."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from adapters.db import tables
from adapters.egress.breaker import CircuitBreaker
from adapters.egress.errors import PeerUnavailableError
from adapters.egress.peer import Bounds, Peer
from adapters.fhir.pulling.asking import Asking
from adapters.sites.pulling import Poll
from clinical.services.pulling import PullingService
from pipelines.pulling.poll import Oddity, Poller
from tests.fakes import SettableClock
from tests.pipelines.importing_stage import stage_on
from tests.pipelines.pulling.clinic import Clinic

pytestmark = pytest.mark.integration

_OVERLAP = timedelta(seconds=30)
_SITES = (f"site{number}" for number in itertools.count())

Happening = Callable[[Clinic], None]


def _write(record_id: str) -> Happening:
    return lambda clinic: clinic.write(record_id)


def _write_unseen(record_id: str) -> Happening:
    return lambda clinic: clinic.write_unseen(f"late-{record_id}")


def _pass(seconds: int) -> Happening:
    def happen(clinic: Clinic) -> None:
        # Whatever comes to light later than the overlap is lost, and said to be.
        clinic.now += timedelta(seconds=seconds)
        clinic.reveal(older_than=_OVERLAP - timedelta(seconds=5))

    return happen


def _break(clinic: Clinic) -> None:
    raise httpx.ConnectError("the line is dead")


_RECORDS = st.sampled_from([f"o{number}" for number in range(9)])
_CHANGES = st.one_of(
    st.builds(_write, _RECORDS),
    st.builds(_write, _RECORDS),
    st.builds(_write_unseen, _RECORDS),
    st.builds(_pass, st.sampled_from([1, 5, 20])),
)
_BEFORE_AN_ANSWER = st.lists(_CHANGES, max_size=4)
_SCRIPT = st.lists(
    st.one_of(_BEFORE_AN_ANSWER, _BEFORE_AN_ANSWER, st.just([_break])), min_size=1, max_size=25
)


@dataclass
class World:
    """A clinic, a poller of it, and what happens before each of the clinic's answers."""

    engine: Engine
    clinic: Clinic
    script: list[list[Happening]]
    site: str = field(default_factory=lambda: next(_SITES))

    def __post_init__(self) -> None:
        clock = SettableClock()
        stage = stage_on(self.engine)
        peer = Peer(
            Bounds(base_url=self.clinic.base_url),
            clock,
            CircuitBreaker(clock, max_failures=10_000, pause=timedelta(0)),
            transport=httpx.MockTransport(self._answer),
        )
        identities = stage.intake.identities
        self.poller = Poller(
            service=PullingService(
                open_unit_of_work=stage.open_unit_of_work,
                clock=clock,
                identities=identities,
                receive=stage.intake.receive,
            ),
            asking=Asking(site=self.site, peer=peer, clock=clock, identities=identities),
            poll=Poll(
                types=("Observation",),
                page_size=2,
                overlap_minutes=_OVERLAP.total_seconds() / 60,
            ),
            clock=clock,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        for happen in self.script.pop(0) if self.script else []:
            happen(self.clinic)
        bundle, headers = self.clinic.search(str(request.url))
        return httpx.Response(200, json=bundle, headers=headers)

    def run(self) -> set[Oddity]:
        """Poll until the script is over, and once more when all is quiet."""
        oddities: set[Oddity] = set()
        while self.script:
            oddities |= self._poll()
        self.clinic.reveal()
        return oddities | self._poll()

    def _poll(self) -> set[Oddity]:
        try:
            report = self.poller.turn("Observation", is_due=False)
        except PeerUnavailableError:
            return set()
        assert report is not None
        return report.oddities

    def stored(self) -> set[tuple[str, str]]:
        """Id and version of every resource in the stored pages."""
        columns = tables.deliveries.c
        with self.engine.connect() as connection:
            bodies = connection.scalars(select(columns.body).where(columns.site == self.site))
            entries = [entry for body in bodies for entry in json.loads(body).get("entry", [])]
        resources = [entry["resource"] for entry in entries]
        return {(each["id"], each["meta"]["versionId"]) for each in resources}


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(script=_SCRIPT)
def test_any_interleaving_of_polls_and_changes_loses_nothing(
    engine: Engine, script: list[list[Happening]]
) -> None:
    world = World(engine, Clinic(), list(script))
    oddities = world.run()
    assert oddities <= {Oddity.UNSTEADY}
    assert world.clinic.current() <= world.stored()


@settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(script=_SCRIPT, filters=st.booleans(), names_itself=st.booleans())
def test_nor_does_a_server_that_ignores_what_it_is_asked(
    engine: Engine, script: list[list[Happening]], filters: bool, names_itself: bool
) -> None:
    clinic = Clinic(sorts=False, filters=filters, names_itself=names_itself)
    world = World(engine, clinic, list(script))
    world.run()
    assert clinic.current() <= world.stored()


def test_following_the_links_of_this_clinic_would_lose_something(engine: Engine) -> None:
    """The simulation is hard enough: what the poller avoids does go wrong in it."""
    clinic = Clinic()
    for number in range(4):
        clinic.write(f"o{number}")
        clinic.now += timedelta(seconds=1)
    world = World(engine, clinic, [[], [_write("o0")]])
    seen = {
        (key[1], key[2])
        for page in world.poller.asking.changed("Observation", "", 2)
        for key in page.keys
    }
    assert ("o2", "1") not in seen


def test_a_change_among_resources_of_one_stamp_pushes_none_of_them_out_of_sight(
    engine: Engine,
) -> None:
    """Six of them on pages of two; the first changes after it was read, and the third moves forward."""
    clinic = Clinic()
    for number in range(6):
        clinic.write(f"o{number}")
    change: list[Happening] = [_pass(60), _write("o0")]
    world = World(engine, clinic, [[], [], [], change])
    assert world.run() == set()
    assert clinic.current() <= world.stored()
