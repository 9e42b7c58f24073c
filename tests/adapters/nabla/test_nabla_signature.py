"""Nabla's signature: over the stamp and the raw body, fresh, by any secret that is still valid."""

import hashlib
import hmac
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.nabla.signature import CORE_WEBHOOK, BadSignatureError, SignatureCheck
from tests.fakes import SettableClock

BODY = b'{"request_uuid":"u1","type":"NOTE_EXPORT"}'


def signed(stamp: str, body: bytes = BODY, secret: str = "s1") -> str:
    return hmac.new(secret.encode(), stamp.encode() + body, hashlib.sha256).hexdigest()


def headers(stamp: str, signature: str) -> dict[str, str]:
    return {"x-nabla-connect-timestamp": stamp, "x-nabla-connect-signature": signature}


@pytest.fixture
def check(frozen_clock: SettableClock) -> SignatureCheck:
    return SignatureCheck(["s1", "s2"], frozen_clock)


@pytest.fixture
def stamp(frozen_clock: SettableClock) -> str:
    return frozen_clock.now().isoformat()


def test_a_known_vector_is_genuine() -> None:
    """HMAC-SHA256 of RFC 4231, test case 2: the key `Jefe`, the stamp and body together its data."""
    check = SignatureCheck(["Jefe"], SettableClock())
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert check._is_genuine("what do ya ", b"want for nothing?", expected)


@pytest.mark.parametrize("secret", ["s1", "s2"])
def test_any_of_our_secrets_will_do(check: SignatureCheck, stamp: str, secret: str) -> None:
    check(headers(stamp, signed(stamp, secret=secret)), BODY)


def test_any_of_several_signatures_with_or_without_a_prefix_will_do(
    check: SignatureCheck, stamp: str
) -> None:
    good = signed(stamp)
    for given_ in (f"{'0' * 64}, {good}", f"sha256={good}", good.upper(), f"{good},{'0' * 64}"):
        check(headers(stamp, given_), BODY)


def test_anything_else_is_refused(check: SignatureCheck, stamp: str) -> None:
    good = signed(stamp)
    for stamp_, signature, body in (
        (stamp, good, BODY + b" "),
        (stamp, signed(stamp, secret="s3"), BODY),
        (stamp, good[:-1], BODY),
        (stamp, "", BODY),
        (stamp, ",", BODY),
        (stamp, "é" * 64, BODY),
        ("", signed(""), BODY),
        (f"{stamp} ", good, BODY),
    ):
        with pytest.raises(BadSignatureError):
            check(headers(stamp_, signature), body)
    with pytest.raises(BadSignatureError):
        check({}, BODY)


@pytest.mark.parametrize("seconds", [-61, 61, 86_400])
def test_a_stamp_outside_the_window_is_refused_on_either_side(
    check: SignatureCheck, frozen_clock: SettableClock, seconds: int
) -> None:
    stamp = (frozen_clock.now() + timedelta(seconds=seconds)).isoformat()
    with pytest.raises(BadSignatureError):
        check(headers(stamp, signed(stamp)), BODY)


def test_the_window_can_be_chosen_and_its_edge_is_inside(frozen_clock: SettableClock) -> None:
    wide = SignatureCheck(["s1"], frozen_clock, window=timedelta(minutes=5))
    for seconds in (-300, 300):
        stamp = (frozen_clock.now() + timedelta(seconds=seconds)).isoformat()
        wide(headers(stamp, signed(stamp)), BODY)


def test_a_stamp_without_a_zone_is_refused(
    check: SignatureCheck, frozen_clock: SettableClock
) -> None:
    stamp = frozen_clock.now().replace(tzinfo=None).isoformat()
    with pytest.raises(BadSignatureError):
        check(headers(stamp, signed(stamp)), BODY)


def test_the_headers_of_the_core_product_are_its_own(
    frozen_clock: SettableClock, stamp: str
) -> None:
    core = SignatureCheck(["s1"], frozen_clock, prefix=CORE_WEBHOOK)
    given_ = {
        "x-nabla-webhook-timestamp": stamp,
        "x-nabla-webhook-signature": signed(stamp),
    }
    core(given_, BODY)


def test_a_check_without_secrets_cannot_be_made(frozen_clock: SettableClock) -> None:
    for secrets in ([], [""]):
        with pytest.raises(ValueError, match="secrets"):
            SignatureCheck(secrets, frozen_clock)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_a_signature_is_for_one_body_only(body: bytes, other: bytes) -> None:
    clock = SettableClock()
    check, stamp = SignatureCheck(["s1"], clock), clock.now().isoformat()
    signature = headers(stamp, signed(stamp, body))
    check(signature, body)
    if body != other:
        with pytest.raises(BadSignatureError):
            check(signature, other)
