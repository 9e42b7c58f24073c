"""The load: EHRs that deliver signed bundles and clinicians that claim and sign, all seeded.

A client whose delivery ended in an unknown way sends it again under the same id, as senders of
webhooks do; some have no patience and leave it unknown. Knows HTTP alone.
"""

import json
import random
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx
from standardwebhooks import Webhook

from adapters.clock import SystemClock
from pipelines.samples import demo_bundles
from tests.chaos.checker import Head
from tests.chaos.history import History, Operation, Outcome
from tests.chaos.stage import CLINICIANS, PASSWORD, SECRET, SITE
from tests.journeys.bundles import bundle, observation, patient

TIMEOUT_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0
_EVERY = 8  # so often a sample patient
_IDENTITY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOT_KEPT = frozenset(range(400, 500))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One delivery: what identifies it, who it is about, and its bytes."""

    sender_id: str
    record_id: str
    body: bytes


def sample_patient(tag: str, number: int) -> Parcel:
    """A delivery of a whole sample patient, with identities of its own: one that the model knows enough of."""
    bodies = _sample_bodies()
    space = uuid5(NAMESPACE_URL, f"{tag}-{number}")
    text = _IDENTITY.sub(lambda found: str(uuid5(space, found[0])), bodies[number % len(bodies)])
    content = json.loads(text)
    record_id = f"{tag}-s{number}"
    for entry in content["entry"]:
        if entry["resource"]["resourceType"] == "Patient":
            entry["resource"]["id"] = record_id
    body = json.dumps(content).encode()
    return Parcel(sender_id=f"{tag}-d{number}", record_id=record_id, body=body)


@cache
def _sample_bodies() -> list[str]:
    """The four smallest of those who are alive."""
    smallest_first = sorted((body for _, body in demo_bundles()), key=len)
    alive = [body.decode() for body in smallest_first if b'"deceasedDateTime"' not in body]
    return alive[:4]


def parcel(tag: str, number: int, chance: random.Random) -> Parcel:
    """The delivery of this number: a sample patient, a new small one, or news about one of the last few."""
    if number % _EVERY == _EVERY - 1:
        return sample_patient(tag, number)
    about = number if chance.random() < 0.6 else max(0, number - chance.randrange(1, 6))
    record_id = f"{tag}-p{about}"
    reading = observation(
        f"{tag}-o{number}",
        record_id,
        effectiveDateTime=f"2025-06-{1 + number % 28:02}T{number % 24:02}:{number % 60:02}:00Z",
        valueQuantity={
            "value": chance.randrange(50, 120),
            "unit": "/min",
            "system": "http://unitsofmeasure.org",
            "code": "/min",
        },
    )
    body = bundle(patient(record_id), reading)
    return Parcel(sender_id=f"{tag}-d{number}", record_id=record_id, body=body)


def headers_of(sender_id: str, body: bytes, *, ahead: float = 0.0) -> dict[str, str]:
    """The headers of a delivery, signed by a clock that may be ahead by so many seconds."""
    now = SystemClock().now()
    moment = now.fromtimestamp(now.timestamp() + ahead, now.tzinfo)
    return {
        "content-type": "application/fhir+json",
        "webhook-id": sender_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(sender_id, moment, body.decode()),
    }


class Sender:
    """Delivers to one address, and writes down what it was told."""

    def __init__(self, url: str, history: History, who: str = "ehr") -> None:
        self.history = history
        self._who = who
        self._address = f"{url}/v1/fhir/{SITE}"
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)

    def once(self, what: Parcel, done: Operation) -> Outcome:
        """One attempt."""
        done.told["attempts"] = done.told.get("attempts", 0) + 1
        codes = done.told.setdefault("codes", [])
        try:
            answer = self._client.post(
                self._address, content=what.body, headers=headers_of(what.sender_id, what.body)
            )
        except httpx.ConnectError:
            codes.append("not connected")
            return Outcome.FAIL
        except httpx.HTTPError as error:
            codes.append(type(error).__name__)
            return Outcome.UNKNOWN
        if answer.status_code == 202:
            done.told.setdefault("receipts", set()).add(answer.json()["delivery_id"])
            return Outcome.OK
        codes.append(f"{answer.status_code} {code_of(answer)}".strip())
        done.told["is_final"] = answer.status_code in _NOT_KEPT - {408, 429}
        done.told["retry_after"] = answer.headers.get("retry-after")
        return outcome_of(answer)

    def send(
        self, what: Parcel, *, patience: float = _PATIENCE_SECONDS, stop: Callable[[], bool]
    ) -> Operation:
        """Until it is accepted, refused for good, or given up; unknown if any attempt may have passed."""
        deadline = time.monotonic() + patience
        with self.history.operation(self._who, "deliver", what.sender_id) as done:
            outcomes = set()
            while True:
                last = self.once(what, done)
                outcomes.add(last)
                if (
                    last is Outcome.OK
                    or done.told.get("is_final")
                    or time.monotonic() > deadline
                    or stop()
                ):
                    break
                time.sleep(0.2)
            if Outcome.OK in outcomes:
                done.outcome = Outcome.OK
            else:
                done.outcome = Outcome.UNKNOWN if Outcome.UNKNOWN in outcomes else Outcome.FAIL
        return done

    def close(self) -> None:
        self._client.close()


def code_of(answer: httpx.Response) -> str:
    """The stable code of a problem, where the answer is one."""
    with suppress(json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
        return str(answer.json()["type"]).rpartition(":")[2].rpartition("/")[2]
    return ""


def outcome_of(answer: httpx.Response) -> Outcome:
    """Refusals are certain; an error of the storage may have come after the commit."""
    if answer.is_success:
        return Outcome.OK
    if answer.status_code in _NOT_KEPT:
        return Outcome.FAIL
    is_turned_away = answer.status_code == 503 and not code_of(answer).startswith("storage.")
    return Outcome.FAIL if is_turned_away else Outcome.UNKNOWN


class Load:
    """Clients and clinicians at work on a site, from `start` to `stop`."""

    def __init__(self, url: str, tag: str, seed: int, *, per_second: float = 2.0) -> None:
        self.url = url
        self.tag = tag
        self.history = History()
        self.heads: list[Head] = []
        self._chance = random.Random(f"{tag}|{seed}")
        self._seed = seed
        self._per_second = per_second
        self._number = 0
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, *, clients: int = 4, clinicians: bool = True) -> None:
        """Begin."""
        work = [partial(self._deliver, number, clients) for number in range(clients)]
        work += [partial(self._review, who) for who in CLINICIANS if clinicians]
        threads = [threading.Thread(target=each, daemon=True) for each in work]
        watching = threading.Thread(target=self._watch_the_ledger, daemon=True)
        self._threads = [*threads, watching]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new work; what is on its way may end."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS * 3)

    def _next(self) -> tuple[Parcel, bool]:
        with self._lock:
            what = parcel(self.tag, self._number, self._chance)
            self._number += 1
            return what, self._chance.random() < 0.2

    def _deliver(self, client: int, clients: int) -> None:
        sender = Sender(self.url, self.history, f"ehr-{client}")
        due = time.monotonic()
        while not self._is_over.is_set():
            what, is_impatient = self._next()
            patience = 0.0 if is_impatient else _PATIENCE_SECONDS
            sender.send(what, patience=patience, stop=lambda: False)
            due = max(due + clients / self._per_second, time.monotonic())
            self._is_over.wait(due - time.monotonic())
        sender.close()

    def _review(self, who: str) -> None:
        chance = random.Random(f"{self.tag}|{who}|{self._seed}")
        reviewer = Reviewer(self.url, self.history, who)
        while not self._is_over.is_set():
            with suppress(httpx.HTTPError, KeyError, json.JSONDecodeError):
                reviewer.work(chance)
            self._is_over.wait(0.2)
        reviewer.close()

    def _watch_the_ledger(self) -> None:
        with httpx.Client(base_url=self.url, timeout=5, trust_env=False) as client:
            while not self._is_over.wait(0.5):
                self.see_the_ledger(client)

    def see_the_ledger(self, client: httpx.Client) -> None:
        """Keep the head that is shown now, if one is."""
        with suppress(httpx.HTTPError):
            answer = client.get("/v1/ledger/checkpoint")
            if answer.status_code == 200:
                _, size, root = answer.text.splitlines()[:3]
                self.heads.append(Head(int(size), root))


class Reviewer:
    """A clinician who claims what is on top and mostly signs it."""

    def __init__(self, url: str, history: History, who: str) -> None:
        self._history = history
        self._who = who
        self._client = httpx.Client(
            base_url=url,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            headers={"X-Clinical-Request": "1"},
        )
        self._is_signed_in = False

    def work(self, chance: random.Random) -> None:
        """Claim one and decide it, or put it back."""
        if not self._is_signed_in:
            answer = self._client.post(
                "/v1/session", json={"name": self._who, "password": PASSWORD}
            )
            self._is_signed_in = answer.status_code == 201
            return
        lines = self._client.get("/v1/reviews", params={"state": "queued", "limit": 10}).json()
        reviews = [line["review"] for line in lines["reviews"]]
        if not reviews:
            return
        review = chance.choice(reviews)
        claimed = self.move("claim", review["review_id"], review["version"])
        if claimed.outcome is not Outcome.OK:
            return
        version = claimed.told["version"]
        if chance.random() < 0.85:
            verdict = chance.choice(["agree", "agree", "disagree"])
            self.move("sign", claimed.key, version, {"verdict": verdict, "note": ""})
        else:
            self.move("release", claimed.key, version)

    def move(self, move: str, key: str, version: int, json: Any = None) -> Operation:
        """One step of a review, written down."""
        with self._history.operation(self._who, "review", key, move=move, version=version) as done:
            try:
                answer = self._client.post(
                    f"/v1/reviews/{key}:{move}", headers={"if-match": f'"v{version}"'}, json=json
                )
            except httpx.ConnectError:
                done.outcome = Outcome.FAIL
                return done
            except httpx.HTTPError:
                return done
            done.outcome = outcome_of(answer)
            if done.outcome is Outcome.OK and move != "sign":
                done.told["version"] = answer.json()["version"]
        return done

    def close(self) -> None:
        self._client.close()
