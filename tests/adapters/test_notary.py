"""Who signs has a name that can stand in a note, and a key of the right length."""

import pytest

from adapters.notary import Ed25519Notary, is_signature
from clinical.audit.checkpoint import MalformedNoteError, SignatureKind


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\n"])
def test_a_name_that_cannot_stand_in_a_note_is_refused(name: str) -> None:
    with pytest.raises(MalformedNoteError):
        Ed25519Notary.of(name, SignatureKind.LOG, bytes(32))


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        Ed25519Notary.of("log", SignatureKind.LOG, bytes(31))


def test_what_is_no_key_or_signature_is_false_and_no_error() -> None:
    notary = Ed25519Notary.of("log", SignatureKind.LOG, bytes(32))
    signature = notary.sign("text\n").content
    assert is_signature(notary.key.public, signature, b"text\n")
    assert not is_signature(notary.key.public, signature, b"test\n")
    assert not is_signature(notary.key.public, signature[:-1], b"text\n")
    assert not is_signature(b"short", signature, b"text\n")
