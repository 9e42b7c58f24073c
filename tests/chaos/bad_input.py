"""Bad input at the door while the site is at work: what is answered, and what is kept of it."""

import httpx

from tests.chaos.history import Outcome
from tests.chaos.load import Parcel, headers_of, outcome_of, parcel
from tests.chaos.scene import Scene
from tests.chaos.stage import SITE

_HOUR = 3600.0
_TOO_LARGE = 10 * 1024 * 1024 + 1


def _post(scene: Scene, what: Parcel, *, ahead: float = 0.0) -> httpx.Response:
    """Send once, and write down what was told."""
    headers = headers_of(what.sender_id, what.body, ahead=ahead)
    with scene.load.history.operation("stranger", "deliver", what.sender_id) as done:
        answer = httpx.post(
            f"{scene.stage.web_url}/v1/fhir/{SITE}",
            content=what.body,
            headers=headers,
            timeout=20,
            trust_env=False,
        )
        done.outcome = outcome_of(answer)
        if done.outcome is Outcome.OK:
            done.told["receipts"] = {answer.json()["delivery_id"]}
    return answer


def _num_kept(scene: Scene, what: Parcel) -> int:
    query = "SELECT count(*) FROM deliveries WHERE sender_id = %s"
    return int(scene.rows(query, what.sender_id)[0][0])


def other_body(scene: Scene, number: int) -> None:
    """B1: a delivery id is used again for other bytes."""
    first = parcel(f"{scene.tag}-twice{number}", 0, scene.chance)
    accepted = _post(scene, first)
    altered = Parcel(
        sender_id=first.sender_id,
        record_id=first.record_id,
        body=first.body.replace(b"final", b"amended"),
    )
    refused = _post(scene, altered)
    delivery_id = accepted.json()["delivery_id"]
    (entries,) = scene.rows(
        "SELECT count(*) FROM audit_entries"
        " WHERE kind = 'delivery.refused.v1' AND refs->>'delivery' = %s",
        delivery_id,
    )[0]
    again = _post(scene, first)
    scene.require(refused.status_code == 409, f"other bytes: {refused.status_code}")
    scene.require(entries == 1, f"{entries} entries of the refusal")
    scene.require(again.json().get("delivery_id") == delivery_id, "another receipt for the first")
    scene.see(f"other bytes: {refused.status_code}, {entries} audit entry, the first stands")


def clock_off(scene: Scene, number: int) -> None:
    """B2: the sender's clock is an hour ahead, or an hour behind."""
    for hours in (1, -1):
        what = parcel(f"{scene.tag}-hour{number}{hours}", 0, scene.chance)
        answer = _post(scene, what, ahead=hours * _HOUR)
        kept = _num_kept(scene, what)
        scene.require(answer.status_code == 401, f"{hours} h: {answer.status_code}")
        scene.require(kept == 0, "it was kept though its signature was not fresh")
        scene.see(f"{hours:+} h: {answer.status_code}, {kept} kept")


def no_json(scene: Scene, number: int) -> None:
    """B3: signed bytes that are no JSON, and JSON that is no FHIR."""
    for name, body in (("torn", b'{"resourceType": "Bundle", "entry": ['), ("list", b"[1, 2]")):
        what = Parcel(sender_id=f"{scene.tag}-{name}{number}", record_id="", body=body)
        answer = _post(scene, what)
        scene.require(answer.status_code == 202, f"{name}: {answer.status_code}")
        scene.settle()
        reasons = scene.rows(
            "SELECT reason_code FROM quarantine JOIN deliveries USING (delivery_id)"
            " WHERE sender_id = %s",
            what.sender_id,
        )
        scene.require(len(reasons) == 1, f"{name}: {len(reasons)} lines in the quarantine")
        scene.see(f"{name}: {answer.status_code}, quarantined as {[each for (each,) in reasons]}")


def too_large(scene: Scene, number: int) -> None:
    """B4: a signed body that is larger than this site takes."""
    body = b'{"resourceType": "Bundle", "x": "' + b" " * _TOO_LARGE + b'"}'
    what = Parcel(sender_id=f"{scene.tag}-large{number}", record_id="", body=body)
    answer = _post(scene, what)
    scene.require(answer.status_code == 413, f"too large: {answer.status_code}")
    scene.require(_num_kept(scene, what) == 0, "it was kept")
    scene.see(f"{len(body) / 2**20:.0f} MiB: {answer.status_code}, nothing kept")
