"""Standard Webhooks signatures (https://www.standardwebhooks.com): who sent these bytes, and when.

Knows the secrets of the sites it is given. Does not look into the bytes.
"""

from collections.abc import Mapping, Sequence

from standardwebhooks import Webhook, WebhookVerificationError

from adapters.http.errors import BadSignatureError


class StandardWebhooks:
    """Verifies deliveries of one site, which may sign with any of its secrets while they rotate.

    The kept library checks `webhook-id.webhook-timestamp.body` with HMAC-SHA256 in constant time
    and refuses stamps more than five minutes old or ahead.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        """`secrets` are `whsec_…`; raises ValueError where one is not base64 or empty."""
        self._webhooks = [Webhook(secret) for secret in secrets]

    def __call__(self, headers: Mapping[str, str], body: bytes) -> None:
        """Return if genuine and fresh; raises BadSignatureError."""
        wanted = {name: headers.get(name, "") for name in STANDARD_HEADERS}
        for webhook in self._webhooks:
            try:
                webhook.verify(body, wanted, json_parse=False)
            except (WebhookVerificationError, ValueError):
                # ValueError: a malformed signature, or bytes that are not UTF-8 and so not JSON.
                continue
            return
        raise BadSignatureError("the delivery is not signed by this site, or not now")


STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
