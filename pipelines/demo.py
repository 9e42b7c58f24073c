"""The demo: sample patients sent through the very path that an EHR's deliveries take.

One patient comes by the signed webhook over HTTP, the others as deliveries of Bundles; the worker
understands them, the model answers, reviews open. Then the same is asked of years past, so that
`clinical audit` has outcomes to compare with. Doing it again on the same data changes nothing.
`pipelines.icu.demo` tells the same of stays in intensive care.
"""

import base64
import contextlib
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import httpx
from standardwebhooks import Webhook

from adapters.assembly import keys
from adapters.assembly.embedded import Site
from adapters.assembly.worker import Parts, open_parts
from adapters.clock import SystemClock
from adapters.db.census import Census, take_census
from adapters.db.clinicians import ClinicianExistsError, Clinicians
from adapters.db.engine import create_engine
from clinical.audit.entry import Act
from clinical.audit.tree import TreeHead
from clinical.errors import ClinicalError, OperationalError
from clinical.prediction.request import Purpose
from clinical.services.delivery import Delivery, Door
from clinical.timeline.timeline import Timeline
from pipelines.samples import demo_bundles

SITE = "demo"
CLINICIAN = "demo"
ACTOR = "demo"
LOOK_BACKS = tuple(timedelta(days=365 * years) for years in (1, 2, 3))
_CONTENT_TYPE = "application/fhir+json"

Bundle = tuple[str, bytes]


class DemoStuckError(OperationalError):
    """The work owed does not get less."""

    code = "demo.stuck"


class DemoIncompleteError(ClinicalError):
    """Something that was sent did not arrive at the end of the path."""

    code = "demo.incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is stored after the demo, and the head of the audit log over it."""

    num_sent: int
    num_of_the_past: int
    census: Census
    head: TreeHead

    @property
    def num_reviews(self) -> int:
        """Reviews in whatever state."""
        return sum(self.census.num_reviews_by_state.values())

    @property
    def num_given_up(self) -> int:
        """Messages whose work will not be done."""
        return self.census.num_messages_by_state.get("given_up", 0)

    def rows(self) -> list[tuple[str, str]]:
        """Name and figure of each line of the table that is printed."""
        census = self.census
        return [
            ("Patients", f"{census.num_patients:,}"),
            ("Events", f"{census.num_events:,}"),
            ("Quarantined", f"{census.num_quarantined:,}"),
            ("Predictions", f"{census.num_predictions:,}"),
            ("of the past", f"{self.num_of_the_past:,}"),
            ("Abstained", f"{census.num_abstained:,}"),
            ("Reviews", f"{self.num_reviews:,}"),
            ("Given up", f"{self.num_given_up:,}"),
            ("Audit entries", f"{self.head.size:,}"),
            ("Audit root", self.head.root.hex()),
        ]

    def require_complete(self) -> None:
        """Return if everything that was sent was understood and brought to a prediction and a review.

        Whoever else is held (others told of them, or two records were merged) need not be.

        Raises:
            DemoIncompleteError
        """
        census = self.census
        shortfalls = {
            "deliveries": self.num_sent - census.num_deliveries,
            "deliveries not understood": census.num_unrecorded_deliveries,
            "patients": self.num_sent - census.num_patients,
            "predictions": self.num_sent - (census.num_predictions - self.num_of_the_past),
            "reviews": self.num_sent - self.num_reviews,
            "messages given up": self.num_given_up,
            "audit entries": census.num_audit_entries - self.head.size,
        }
        short = [f"{count} {name}" for name, count in shortfalls.items() if count > 0]
        if short:
            raise DemoIncompleteError(f"short of complete: {', '.join(short)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Whom a demo shows: the patients, how they come in, and what is asked of them after that.

    `send` yields how many patients were sent so far.
    """

    name: str  # of its folder beside the data of other stories; empty: of none
    bundles: Callable[[], Iterator[Bundle]]
    send: Callable[[Parts, list[Bundle], "SignedWebhook"], Iterator[int]]
    ask: Callable[[Parts], None]


def sign_in_password(session_key: bytes) -> str:
    """The demo clinician's password: the same for one data folder, other for any other, kept nowhere."""
    digest = hmac.digest(session_key, b"the demo clinician's password", hashlib.sha256)
    text = base64.b32encode(digest[:10]).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, 16, 4))


def send(parts: Parts, bundles: list[Bundle], webhook: "SignedWebhook") -> Iterator[int]:
    """Deliver each Bundle, the smallest by webhook; yields how many were sent so far."""
    by_size = sorted(bundles, key=lambda bundle: len(bundle[1]))
    webhook.deliver(by_size[0][1])
    yield 1
    for number, (_, body) in enumerate(by_size[1:], start=2):
        delivery = Delivery(
            delivery_id=parts.identities.new(),
            site=SITE,
            door=Door.FHIR_BULK,
            sender_id=hashlib.sha256(body).hexdigest(),
            body=body,
            content_type=_CONTENT_TYPE,
            received_at=parts.clock.now(),
        )
        parts.intake.receive(delivery, Act(actor=ACTOR, at=parts.clock.now()))
        yield number


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedWebhook:
    """The door of a site as its EHR would use it."""

    web_url: str
    secret: str

    def deliver(self, body: bytes) -> None:
        """Post a resource or Bundle, signed as Standard Webhooks says.

        Raises:
            DemoIncompleteError: it was not taken in.
        """
        webhook_id = f"demo-{hashlib.sha256(body).hexdigest()[:32]}"
        with httpx.Client(timeout=30, trust_env=False) as client:
            response = self.send(client, webhook_id, body)
        if response.status_code != httpx.codes.ACCEPTED:
            raise DemoIncompleteError(f"the webhook answered {response.status_code}")

    def send(self, client: httpx.Client, webhook_id: str, body: bytes) -> httpx.Response:
        """Post it as `deliver` does, under this id; whatever is answered."""
        url = f"{self.web_url}/v1/fhir/{SITE}"
        return client.post(url, content=body, headers=self._headers(webhook_id, body))

    def _headers(self, webhook_id: str, body: bytes) -> dict[str, str]:
        now = SystemClock().now()
        return {
            "content-type": _CONTENT_TYPE,
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(webhook_id, now, body.decode()),
        }


def ask_of_the_past(parts: Parts) -> None:
    """Owe, for every patient, predictions as of some years before the last event, unless there are."""
    asked = asked_before(parts, Purpose.RETROSPECTIVE)
    with parts.open_unit_of_work() as uow:
        questions = [
            (patient_id, moment)
            for patient_id in uow.timelines.patient_ids()
            for moment in _past_moments(uow.timelines.of(patient_id))
            if (patient_id, moment) not in asked
        ]
    for patient_id, moment in questions:
        parts.intake.request_prediction(
            patient_id, purpose=Purpose.RETROSPECTIVE, as_of=moment.isoformat()
        )


def asked_before(parts: Parts, purpose: Purpose) -> set[tuple[UUID, datetime]]:
    """Patient and moment of every question of this purpose that was answered."""
    with parts.open_unit_of_work() as uow:
        return {
            (prediction.request.patient_id, prediction.request.as_of)
            for prediction in uow.predictions.all()
            if prediction.request.purpose is purpose
        }


def _past_moments(timeline: Timeline) -> Iterator[datetime]:
    """The moments to ask of: only where something had become known by then."""
    if timeline.known_until is None:
        return
    for look_back in LOOK_BACKS:
        moment = timeline.known_until - look_back
        if timeline.cut(moment).known_until is not None:
            yield moment


OUTPATIENT = Story(name="", bundles=demo_bundles, send=send, ask=ask_of_the_past)
"""The synthetic patients: one by webhook, and asked of years past."""


def wait_until_done(
    parts: Parts, look: Callable[[int], None], *, stuck_after_seconds: float = 120.0
) -> None:
    """Return when no work is owed; `look` is called with what still is, and may raise.

    Raises:
        DemoStuckError
    """
    fewest, since = None, time.monotonic()
    while True:
        with parts.open_unit_of_work() as uow:
            num_waiting = uow.outbox.pending()
        look(num_waiting)
        if not num_waiting:
            return
        if fewest is None or num_waiting < fewest:
            fewest, since = num_waiting, time.monotonic()
        if time.monotonic() - since > stuck_after_seconds:
            raise DemoStuckError(f"{num_waiting} messages wait and none was finished for a while")
        time.sleep(0.1)


def fill(site: Site, say: Callable[[str], None], story: Story = OUTPATIENT) -> Summary:
    """Send the patients and stay until nothing is owed; `say` is told how far it is.

    Raises:
        ChildDiedError, DemoStuckError, DemoIncompleteError
    """
    parts = open_parts(site.settings, site.database_url)
    bundles = list(story.bundles())
    webhook = SignedWebhook(web_url=site.web_url, secret=keys.webhook_secret(site.settings, SITE))
    for num_sent in story.send(parts, bundles, webhook):
        site.require_alive()
        say(f"Sent {num_sent} of {len(bundles)} patients …")

    def look(num_waiting: int) -> None:
        site.require_alive()
        say(f"Sent {len(bundles)} patients; {num_waiting} pieces of work are owed …")

    wait_until_done(parts, look)
    story.ask(parts)
    wait_until_done(parts, look)
    return Summary(
        num_sent=len(bundles),
        num_of_the_past=len(asked_before(parts, Purpose.RETROSPECTIVE)),
        head=_sequenced_head(parts),
        census=take_census(create_engine(site.database_url, pool_size=1)),
    )


def open_account(site: Site) -> str:
    """Make the demo clinician unless there is one; the password."""
    password = sign_in_password(keys.session_key(site.settings))
    clinicians = Clinicians(create_engine(site.database_url, pool_size=1))
    with contextlib.suppress(ClinicianExistsError):
        clinicians.add(CLINICIAN, "Demo clinician", password, "clinician")
    return password


def _sequenced_head(parts: Parts) -> TreeHead:
    """The head of the audit log once every entry has its leaf."""
    while True:
        with parts.open_unit_of_work() as uow:
            if not uow.audit_log.unsequenced():
                return uow.audit_log.head()
        time.sleep(0.1)
