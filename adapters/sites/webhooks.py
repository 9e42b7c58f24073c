"""Those whom we tell what happens at a site, by Standard Webhooks."""

import base64
import binascii

from msgspec import Struct, field

from adapters.sites.peers import Breaker, Limits
from adapters.sites.secret import Secret
from clinical.audit.announced import ANNOUNCED

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64  # bytes, as the specification has them
_DAY = 86_400.0


class Receiver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One address that is told of `events`. `secrets` are `whsec_…`: while they rotate each signs.

    Whoever asks us to stay away longer than a day is asked again after one.
    """

    url: str
    secrets: tuple[Secret, ...]
    events: tuple[str, ...]
    allows_plain_http: bool = False
    limits: Limits = field(default_factory=lambda: Limits(max_pause_seconds=_DAY))
    breaker: Breaker = field(default_factory=Breaker)

    def __post_init__(self) -> None:
        """A receiver that nobody could verify, or that is told nothing, is a mistake."""
        if not self.secrets or not all(_is_good(each.value) for each in self.secrets):
            raise ValueError("secrets: whsec_ and 24 to 64 bytes in base64, at least one of them")
        unknown = sorted(set(self.events) - set(ANNOUNCED.values()))
        if unknown or not self.events:
            known = ", ".join(sorted(ANNOUNCED.values()))
            raise ValueError(f"events: some of {known}")


def _is_good(secret: str) -> bool:
    if not secret.startswith(_PREFIX):
        return False
    try:
        decoded = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        return False
    return _SHORTEST <= len(decoded) <= _LONGEST
