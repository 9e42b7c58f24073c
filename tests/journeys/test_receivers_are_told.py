"""A receiver that a site names is told, by the running service, that a review waits."""

import json
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from pipelines.samples import demo_bundles
from tests.adapters.receivers.receiver import hook_receiver
from tests.journeys.conftest import SECRET, SITE
from tests.journeys.visitor import deliver
from tests.stack import up, wait_until

pytestmark = pytest.mark.integration


def test_whoever_a_site_names_is_told_of_a_review_by_ids_alone(tmp_path: Path) -> None:
    with hook_receiver() as hook:
        sites = tmp_path / "sites.toml"
        sites.write_text(
            f'[sites.{SITE}]\nwebhook_secrets = ["{SECRET}"]\n'
            f'[sites.{SITE}.webhooks.dashboard]\nurl = "{hook.url}"\n'
            f'secrets = ["{SECRET}"]\nevents = ["review.opened"]\n'
        )
        with up(tmp_path, {"CLINICAL_SITES_FILE": str(sites)}) as (started, web_url):
            body = min((body for _, body in demo_bundles()), key=len)
            assert deliver(web_url, SITE, SECRET, body).status_code == 202
            wait_until(lambda: bool(hook.came))
            assert started.stop() == 0
        came = hook.came[0]
        told = Webhook(SECRET).verify(came.body, came.headers)
    assert told["type"] == "review.opened"
    assert sorted(told["data"]) == ["prediction", "review", "site"]
    patient = next(
        entry["resource"]["id"]
        for entry in json.loads(body)["entry"]
        if entry["resource"]["resourceType"] == "Patient"
    )
    assert patient.encode() not in came.body
