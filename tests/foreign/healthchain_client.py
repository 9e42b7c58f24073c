"""HealthChain's sandbox client, sending CDS Hooks calls to a running site.

Runs in an environment of its own (`pip install "healthchain[sandbox]==0.16.1"`): it wants other versions of
fhir.resources and httpx than this project. Takes the address of the site's services, a known patient,
and a folder; writes there the bytes of every request as it was sent, and of every answer.
"""

import json
import sys
from pathlib import Path

import httpx
from healthchain.sandbox import sandboxclient
from healthchain.sandbox.requestconstructors import CdsRequestConstructor

_SENT = []


class _Recording(httpx.Client):
    """The client that HealthChain makes, with an ear at what it sends."""

    def send(self, request, **more):
        answer = super().send(request, **more)
        _SENT.append((request.read(), answer.status_code, answer.read()))
        return answer


def main(services: str, patient: str, folder: Path) -> None:
    """What its sandbox makes up, the same about a known patient, a Bundle from a file, and a discharge."""
    sandboxclient.httpx.Client = _Recording
    view = sandboxclient.SandboxClient(url=f"{services}/forecast", workflow="patient-view")
    view.load_synthetic(n=1, random_seed=7)
    [made_up] = view.requests
    bundle = folder / "bundle.json"
    made = made_up.model_dump(mode="json", exclude_none=True)["prefetch"]["patient"]
    entry = [{"resource": made}]
    bundle.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entry}))
    view.load_from_path(bundle)
    unkeyed = json.loads(bundle.read_text())
    for prefetch in (made_up.prefetch, unkeyed):
        view.requests.append(
            CdsRequestConstructor().construct_request(
                prefetch, view.workflow, {"patientId": patient}
            )
        )
    _send(view, folder, ("made-up", "bundle", "known", "bundle-known"))
    discharge = sandboxclient.SandboxClient(
        url=f"{services}/forecast", workflow="encounter-discharge"
    )
    discharge.load_synthetic(n=1, random_seed=7)
    _send(discharge, folder, ("discharge",))


def _send(client, folder: Path, names: tuple[str, ...]) -> None:
    parsed = client.send_requests()
    for name, understood in zip(names, parsed, strict=True):
        body, status, answer = _SENT.pop(0)
        (folder / f"{name}.request.json").write_bytes(body)
        told = {"status": status, "body": json.loads(answer), "understood": understood}
        (folder / f"{name}.answer.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
