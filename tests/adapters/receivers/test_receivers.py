"""Others are told over real HTTP what happens here, and verify it by the kept library, in two languages."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from standardwebhooks import Webhook, WebhookVerificationError

from adapters.assembly.receivers import announced, receivers
from adapters.clock import SystemClock
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.egress.errors import ForeignAddressError
from adapters.sites.file import MalformedSitesFileError, sites_of
from adapters.sites.site import Site
from clinical.audit.announced import ANNOUNCED, Announcement, announcement
from clinical.audit.entry import Act, AuditKind
from clinical.prediction.registry import Concern
from clinical.prediction.request import Purpose
from clinical.review.decision import Verdict
from clinical.services.announcing import PAUSES, AnnouncingService
from clinical.services.erasure import ErasureService
from clinical.services.messages import MessageKind, Urgency
from clinical.services.ports import ReceiverFailedError, ReceiverName
from clinical.services.prediction import PredictionService
from clinical.services.quarantine import QuarantineService
from clinical.services.registry import RegistryService
from clinical.services.review import ReviewService
from clinical.timeline.patient import PatientRef
from pipelines.tasks import announcing as task
from pipelines.tasks.attempt import Bench, Outcome, attempt
from tests.adapters.receivers.receiver import HookReceiver, hook_receiver
from tests.clinical.builders import event
from tests.fakes import MODEL, FakeModelServer, SeededIdentities, SettableClock

pytestmark = pytest.mark.integration

OLD = "whsec_" + base64.b64encode(bytes(range(24))).decode()
NEW = "whsec_" + base64.b64encode(bytes(range(100, 164))).decode()
DASHBOARD = ReceiverName("north", "dashboard")
LEASE = timedelta(minutes=2)
PATIENT = PatientRef("north", "p1")
EVERYTHING = sorted(ANNOUNCED.values())


def stated(url: str, **changes: Any) -> dict[str, Any]:
    patient = {"max_failures": 1000}  # the breaker is not what most of these are about
    return {"url": url, "secrets": [OLD, NEW], "events": EVERYTHING, "breaker": patient} | changes


def sites(**by_name: dict[str, Any]) -> dict[str, Site]:
    return sites_of({"sites": {"north": {"webhooks": by_name}}}, folder=Path())


@pytest.fixture
def hook() -> Iterator[HookReceiver]:
    with hook_receiver() as running:
        yield running


class Journeys:
    """What happens to one patient, and the telling of it, over a real database."""

    def __init__(
        self, engine: Engine, clock: SettableClock, known: dict[str, Site], seed: int = 3
    ) -> None:
        self.engine, self.clock = engine, clock
        self.open_unit_of_work = unit_of_work_factory(
            engine, moment=clock.now, announced=announced(known)
        )
        self.shared: dict[str, Any] = {
            "open_unit_of_work": self.open_unit_of_work,
            "clock": clock,
            "identities": SeededIdentities(seed),
        }
        self.service = AnnouncingService(**self.shared, receivers=receivers(known, clock))
        self.predictions = PredictionService(**self.shared, models=FakeModelServer())
        self.bench = Bench(
            **self.shared,
            lease=LEASE,
            work={
                MessageKind.ANNOUNCE: lambda *what: task.announce(self.service, *what),
                MessageKind.SEND_WEBHOOK: lambda *what: task.send(self.service, *what),
            },
        )

    def act(self) -> Act:
        return Act(actor="anna", at=self.clock.now())

    def predict(self, purpose: Purpose = Purpose.REVIEW) -> UUID:
        from dataclasses import replace

        made = replace(event("o1", received=0), patient_id=PATIENT.patient_id)
        with self.open_unit_of_work() as uow:
            uow.timelines.add([made], {PATIENT.patient_id: PATIENT})
            uow.commit()
        return self.predictions.make(PATIENT.patient_id, self.act(), purpose=purpose)

    def work(self) -> list[Outcome]:
        """Do all that is due; how each attempt ended."""
        outcomes: list[Outcome] = []
        while True:
            with self.open_unit_of_work() as uow:
                owed = uow.outbox.claim(50, LEASE)
                uow.commit()
            if not owed:
                return outcomes
            outcomes += [attempt(self.bench, message.message_id) for message in owed]


@pytest.fixture
def journeys(engine: Engine, frozen_clock: SettableClock, hook: HookReceiver) -> Journeys:
    frozen_clock.moment = datetime(2030, 1, 1, tzinfo=UTC)
    return Journeys(engine, frozen_clock, sites(dashboard=stated(hook.url)))


def told(hook: HookReceiver) -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in hook.came]


def test_a_prediction_and_its_review_are_told_by_ids_alone(
    journeys: Journeys, hook: HookReceiver
) -> None:
    prediction_id = journeys.predict()
    assert hook.came == []  # nothing is told before it is committed, and not by who commits
    journeys.work()
    with journeys.open_unit_of_work() as uow:
        (review,) = uow.reviews.open_for(PATIENT.patient_id)
    assert sorted(told(hook), key=lambda each: str(each["type"])) == [
        {
            "type": "prediction.stored",
            "timestamp": journeys.clock.now().isoformat(),
            "data": {
                "site": "north",
                "prediction": str(prediction_id),
                "model": MODEL.manifest_digest,
            },
        },
        {
            "type": "review.opened",
            "timestamp": journeys.clock.now().isoformat(),
            "data": {
                "site": "north",
                "prediction": str(prediction_id),
                "review": str(review.review_id),
            },
        },
    ]
    assert all(len(each.body) < 20_000 for each in hook.came)
    assert all(b"p1" not in each.body for each in hook.came)


def test_a_signature_and_a_stopped_model_are_told(journeys: Journeys, hook: HookReceiver) -> None:
    journeys.predict()
    reviews = ReviewService(**journeys.shared)
    with journeys.open_unit_of_work() as uow:
        (review,) = uow.reviews.open_for(PATIENT.patient_id)
    claimed = reviews.claim(review.review_id, journeys.act(), expected_version=review.version)
    reviews.sign(
        review.review_id,
        journeys.act(),
        expected_version=claimed.version,
        verdict=Verdict.AGREE,
        note="SECRET words",
    )
    RegistryService(**journeys.shared).stop(MODEL.name, "anna", Concern.SAFETY, "SECRET words")
    journeys.work()
    types = {each["type"] for each in told(hook)}
    assert {"review.signed", "model.stopped"} <= types
    assert b"SECRET" not in b"".join(each.body for each in hook.came)


def test_what_nobody_wants_to_be_told_is_owed_to_nobody(
    engine: Engine, frozen_clock: SettableClock, hook: HookReceiver
) -> None:
    known = sites(dashboard=stated(hook.url, events=["review.signed"]))
    journeys = Journeys(engine, frozen_clock, known)
    frozen_clock.moment = datetime(2030, 1, 1, tzinfo=UTC)
    journeys.predict()
    with journeys.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 0


def test_a_question_about_the_past_and_another_site_are_not_told(
    engine: Engine, frozen_clock: SettableClock, hook: HookReceiver
) -> None:
    frozen_clock.moment = datetime(2030, 1, 1, tzinfo=UTC)
    known = {"south": sites(dashboard=stated(hook.url))["north"]}
    Journeys(engine, frozen_clock, known).predict()
    Journeys(engine, frozen_clock, known).work()
    here = Journeys(engine, frozen_clock, sites(dashboard=stated(hook.url)), seed=4)
    here.predictions.make(PATIENT.patient_id, here.act(), purpose=Purpose.RETROSPECTIVE)
    here.work()
    assert hook.came == []


def test_of_a_patient_who_was_erased_nothing_is_told(
    journeys: Journeys, hook: HookReceiver
) -> None:
    journeys.predict()
    ErasureService(**journeys.shared).erase(PATIENT, "operator")
    assert set(journeys.work()) == {Outcome.DONE}
    assert hook.came == []


def test_a_rollback_takes_back_what_was_to_be_told(journeys: Journeys) -> None:
    with journeys.open_unit_of_work() as uow:
        uow.audit_log.append(
            journeys.act().entry(UUID(int=5), AuditKind.REVIEW_OPENED, review=UUID(int=6))
        )
    with journeys.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 0


def test_a_failing_receiver_is_told_again_over_days_under_the_same_id_with_fresh_stamps(
    journeys: Journeys, hook: HookReceiver
) -> None:
    """More than the 72 hours after which other work is given up, and no attempt is spent."""
    hook.answer(500)
    journeys.predict()
    first = journeys.clock.now()
    journeys.work()
    for pause in PAUSES:
        num_before = len(hook.came)
        journeys.clock.advance(pause * 0.99)
        journeys.work()
        assert len(hook.came) == num_before  # not yet
        journeys.clock.advance(pause * 0.12)
        journeys.work()
        assert len(hook.came) == num_before + 2
    assert journeys.clock.now() - first > timedelta(hours=75)
    assert len(hook.came) == 2 * (1 + len(PAUSES))
    ids = {each.headers["webhook-id"] for each in hook.came}
    stamps = {each.headers["webhook-timestamp"] for each in hook.came}
    assert (len(ids), len(stamps)) == (2, 1 + len(PAUSES))
    dead = journeys.service.dead(10)
    assert [each.error_code for each in dead] == ["webhook.undeliverable"] * 2
    (state,) = journeys.service.states()
    assert (state.num_owed, state.num_dead, state.last_status) == (0, 2, 500)


def test_what_was_given_up_is_redriven_from_the_beginning_under_the_same_id(
    journeys: Journeys, hook: HookReceiver
) -> None:
    hook.answer(500)
    journeys.predict()
    for pause in (timedelta(0), *PAUSES):
        journeys.clock.advance(pause * 1.11)
        journeys.work()
    ids = {each.headers["webhook-id"] for each in hook.came}
    for each in journeys.service.dead(10):
        QuarantineService(**journeys.shared).redrive(each.message_id, "operator")
    assert set(journeys.work()) == {Outcome.WAITING}  # the schedule begins anew
    hook.answer(200)
    journeys.clock.advance(timedelta(seconds=6))
    assert set(journeys.work()) == {Outcome.DONE}
    assert {each.headers["webhook-id"] for each in hook.came[-2:]} == ids
    assert journeys.service.dead(10) == []


def test_retry_after_is_heeded_where_it_is_longer_and_a_week_is_cut_to_a_day(
    journeys: Journeys, hook: HookReceiver
) -> None:
    failing = receivers(sites(dashboard=stated(hook.url)), journeys.clock)
    for said, kept in (("120", timedelta(seconds=120)), ("604800", timedelta(days=1))):
        hook.answer(429, Retry_After=said)
        with pytest.raises(ReceiverFailedError) as raised:
            failing.tell(DASHBOARD, ANNOUNCEMENT)
        assert (raised.value.retry_after, raised.value.status) == (kept, 429)
    hook.answer(503, Retry_After="120")
    journeys.predict()
    journeys.work()
    num_before = len(hook.came)
    journeys.clock.advance(timedelta(seconds=119))
    journeys.work()
    assert len(hook.came) == num_before
    journeys.clock.advance(timedelta(seconds=14))
    journeys.work()
    assert len(hook.came) == num_before + 2


@pytest.mark.parametrize("status", [301, 400, 401, 404, 408, 500, 503])
def test_anything_but_2xx_and_410_is_a_failure_that_passes(
    journeys: Journeys, hook: HookReceiver, status: int
) -> None:
    hook.answer(status, Location="http://127.0.0.1:9/elsewhere")
    journeys.predict()
    assert set(journeys.work()) == {Outcome.DONE, Outcome.WAITING}
    assert len(hook.came) == 2  # and nobody was followed


def test_a_receiver_that_is_gone_is_told_nothing_until_a_person_says_so(
    journeys: Journeys, hook: HookReceiver
) -> None:
    hook.answer(410)
    journeys.predict()
    journeys.work()
    assert len(hook.came) == 1  # the second event was not even tried
    assert {each.error_code for each in journeys.service.dead(10)} == {"webhook.gone"}
    (state,) = journeys.service.states()
    assert state.disabled_at is not None
    assert journeys.service.enable(DASHBOARD, "operator")
    assert not journeys.service.enable(DASHBOARD, "operator")
    hook.answer(200)
    for each in journeys.service.dead(10):
        QuarantineService(**journeys.shared).redrive(each.message_id, "operator")
    assert set(journeys.work()) == {Outcome.DONE}
    with journeys.open_unit_of_work() as uow:
        kinds = [each.kind for each in uow.audit_log.history(endpoint="dashboard")]
    assert sorted(kinds) == [AuditKind.WEBHOOK_DISABLED, AuditKind.WEBHOOK_ENABLED]


def test_a_receiver_that_the_sites_file_no_longer_has_is_listed(
    engine: Engine, journeys: Journeys, hook: HookReceiver
) -> None:
    hook.answer(500)
    journeys.predict()
    journeys.work()
    journeys.clock.advance(timedelta(seconds=6))
    Journeys(engine, journeys.clock, sites(), seed=4).work()
    assert {each.error_code for each in journeys.service.dead(10)} == {"webhook.unknown_receiver"}


def test_one_failing_receiver_holds_up_no_other(
    engine: Engine, frozen_clock: SettableClock, hook: HookReceiver
) -> None:
    frozen_clock.moment = datetime(2030, 1, 1, tzinfo=UTC)
    nobody = stated("http://127.0.0.1:9/nobody")
    journeys = Journeys(engine, frozen_clock, sites(dashboard=stated(hook.url), nobody=nobody))
    journeys.predict()
    journeys.work()
    assert len(hook.came) == 2
    states = {each.receiver.endpoint: each for each in journeys.service.states()}
    assert (states["dashboard"].num_owed, states["nobody"].num_owed) == (0, 2)
    assert states["nobody"].last_status == 0


def test_what_waits_for_receivers_does_not_count_as_live_work(
    journeys: Journeys, hook: HookReceiver
) -> None:
    """Else a receiver that is away for days would keep deliveries out."""
    hook.answer(500)
    journeys.predict()
    journeys.work()
    with journeys.open_unit_of_work() as uow:
        assert uow.outbox.backlog(100).num_messages == 0
        assert uow.outbox.pending() == 2
        assert uow.outbox.claim(9, LEASE, least=Urgency.LIVE) == []


def test_a_receiver_that_keeps_failing_is_left_alone_and_that_counts_for_no_failure(
    engine: Engine, frozen_clock: SettableClock, hook: HookReceiver
) -> None:
    frozen_clock.moment = datetime(2030, 1, 1, tzinfo=UTC)
    breaker = {"max_failures": 2, "pause_seconds": 60.0}
    known = sites(dashboard=stated(hook.url, breaker=breaker))
    journeys = Journeys(engine, frozen_clock, known)
    hook.answer(500, 500, 200)
    journeys.predict()
    journeys.work()
    frozen_clock.advance(timedelta(seconds=6))
    assert set(journeys.work()) == {Outcome.WAITING}
    assert len(hook.came) == 2
    frozen_clock.advance(timedelta(seconds=61))
    journeys.work()
    assert (len(hook.came), journeys.service.dead(10)) == (4, [])


ANNOUNCEMENT = Announcement(
    entry_id=UUID(int=1), type="review.opened", at=datetime(2030, 1, 1, tzinfo=UTC), refs={}
)


@dataclass(frozen=True)
class ClockElsewhere:
    """The right moment, on a clock that shows another zone's time."""

    def now(self) -> datetime:
        return SystemClock().now().astimezone(timezone(timedelta(hours=9)))


def test_the_kept_library_verifies_with_each_secret_while_they_rotate(hook: HookReceiver) -> None:
    receivers(sites(dashboard=stated(hook.url)), ClockElsewhere()).tell(DASHBOARD, ANNOUNCEMENT)
    (came,) = hook.came
    assert came.headers["webhook-id"] == str(ANNOUNCEMENT.entry_id)
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(came.body, came.headers)["type"] == "review.opened"
    for body in (came.body + b" ", came.body.replace(b"opened", b"signed")):
        with pytest.raises(WebhookVerificationError):
            Webhook(NEW).verify(body, came.headers)


def test_a_ping_is_signed_too(hook: HookReceiver) -> None:
    receivers(sites(dashboard=stated(hook.url)), SystemClock()).ping(DASHBOARD, UUID(int=9))
    (came,) = hook.came
    assert Webhook(OLD).verify(came.body, came.headers)["type"] == "ping"


_VERIFY = """
const { Webhook } = require("standardwebhooks");
const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0));
try { new Webhook(secret).verify(body, headers); console.log("genuine"); }
catch (error) { console.log("refused"); }
"""


def test_the_library_of_another_language_verifies_too(hook: HookReceiver) -> None:
    node = shutil.which("node")
    find = [str(node), "-e", "require.resolve('standardwebhooks')"]
    if node is None or subprocess.run(find, capture_output=True, check=False).returncode:
        pytest.skip("node with the package standardwebhooks is not installed")
    receivers(sites(dashboard=stated(hook.url)), SystemClock()).tell(DASHBOARD, ANNOUNCEMENT)
    (came,) = hook.came
    for body, word in ((came.body.decode(), "genuine"), ("{}", "refused")):
        given = json.dumps({"secret": NEW, "body": body, "headers": came.headers})
        done = subprocess.run(
            [str(node), "-e", _VERIFY],
            input=given,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == word


@pytest.mark.parametrize(
    "changes",
    [
        {"secrets": []},
        {"secrets": ["whsec_c2hvcnQ="]},
        {"secrets": [OLD.removeprefix("whsec_")]},
        {"secrets": ["whsec_" + base64.b64encode(bytes(65)).decode()]},
        {"events": []},
        {"events": ["review.brand_new"]},
        {"colour": "blue"},
    ],
)
def test_a_receiver_that_cannot_be_is_refused_with_its_place(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedSitesFileError, match="webhooks") as raised:
        sites(dashboard=stated("https://hooks.example.org/x", **changes))
    assert OLD not in str(raised.value)


@pytest.mark.parametrize("url", ["http://hooks.example.org/x", "ftp://hooks.example.org/x"])
def test_only_https_is_called(url: str) -> None:
    with pytest.raises(ForeignAddressError):
        receivers(sites(dashboard=stated(url)), SystemClock())


def test_an_entry_that_nobody_is_told_of_is_no_announcement_and_odd_refs_are_left_out() -> None:
    act = Act(actor="anna", at=datetime(2030, 1, 1, tzinfo=UTC))
    assert announcement(act.entry(UUID(int=1), AuditKind.REVIEW_READ, review=UUID(int=2))) is None
    odd = act.entry(UUID(int=1), AuditKind.REVIEW_OPENED, review="Ada", prediction=UUID(int=2))
    found = announcement(odd)
    assert found is not None
    assert found.refs == {"prediction": str(UUID(int=2))}
