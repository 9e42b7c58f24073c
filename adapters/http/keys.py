"""Our public keys, for those who check that it is we who ask (RFC 7517, JWK Set)."""

from typing import Any

from fastapi import APIRouter, Response

from adapters.http.dependencies import Given
from adapters.http.shape import Shape

routes = APIRouter(tags=["keys"])
# Less than a new key is published before it signs (adapters/egress/keys.py).
_MAX_AGE_SECONDS = 1800


class PublicKeys(Shape):
    """A JWK Set; the members of a key depend on its kind (RFC 7518 section 6)."""

    keys: list[dict[str, Any]]


@routes.get("/.well-known/jwks.json")
def jwks(given: Given, response: Response) -> PublicKeys:
    """The public halves of the keys with which this service signs, the newest first."""
    response.headers["cache-control"] = f"public, max-age={_MAX_AGE_SECONDS}"
    return PublicKeys(keys=[dict(each) for each in given.public_keys()])
