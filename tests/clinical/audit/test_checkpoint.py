"""Checkpoints, notes and keys: the published examples are read, written alike, and nothing looser is."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clinical.audit.checkpoint import (
    Checkpoint,
    MalformedNoteError,
    Note,
    NoteKey,
    Signature,
    SignatureKind,
    UntrustedNoteError,
    cosigned,
)
from clinical.audit.tree import TreeHead

# The example of Go's package sumdb/note, with its key.
KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi"
    "2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
CHECKPOINT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SECRET.public_key().public_bytes_raw()


def check(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_a_published_note_is_verified_by_its_published_key_and_written_alike() -> None:
    key, note = NoteKey.from_text(KEY), Note.from_text(NOTE)
    assert key.to_text() == KEY
    assert note.to_text() == NOTE
    assert note.signed_by(key, check) == 0


def test_a_false_signature_of_a_known_key_refuses_the_whole_note() -> None:
    other = Note.from_text(NOTE.replace("example message", "exemple message"))
    with pytest.raises(UntrustedNoteError):
        other.signed_by(NoteKey.from_text(KEY), check)


def test_an_unknown_key_is_passed_over() -> None:
    stranger = NoteKey("example.com/foo", SignatureKind.LOG, PUBLIC)
    assert Note.from_text(NOTE).signed_by(stranger, check) is None


def test_a_witness_says_when_it_saw_the_head_and_signs_that_too() -> None:
    key, at = NoteKey("witness.example/w1", SignatureKind.WITNESS, PUBLIC), 1679315147
    content = at.to_bytes(8) + SECRET.sign(cosigned(CHECKPOINT, at))
    note = Note(CHECKPOINT, (Signature(key.name, key.key_id, content),))
    assert Note.from_text(note.to_text()).signed_by(key, check) == at
    later = (at + 1).to_bytes(8) + content[8:]
    with pytest.raises(UntrustedNoteError):
        Note(CHECKPOINT, (Signature(key.name, key.key_id, later),)).signed_by(key, check)


def test_a_checkpoint_is_read_and_written_alike() -> None:
    found = Checkpoint.from_text(CHECKPOINT)
    assert (found.origin, found.head.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.to_text() == CHECKPOINT
    assert Checkpoint.from_text(CHECKPOINT + "an extension\n").head == found.head


@pytest.mark.parametrize(
    "text",
    [
        "log\n1\n",
        "log\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "log\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "log\n\u0661\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "log\n1\nCsUY\n",
        "log\n1\n???\n",
        "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "log\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(MalformedNoteError):
        Checkpoint.from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "no signature\n",
        NOTE[:-1],
        NOTE.replace("\u2014", "--"),
        NOTE.replace("example.com/foo", "example.com/f+o"),
        NOTE.replace("message", "mess\x07age"),
        "text\n\n\u2014 name AAAA\n",
        NOTE + NOTE.split("\n\n")[1] * 100,
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(MalformedNoteError):
        Note.from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        KEY.replace("530d903a", "530d903b"),
        KEY.replace("+Aek", "+Cek"),
        KEY[:-4],
        "name",
        KEY.replace("example.com/foo", "example.com/f o"),
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(MalformedNoteError):
        NoteKey.from_text(text)


def test_a_head_is_bound_to_its_size_and_root() -> None:
    one = Checkpoint("log", TreeHead(3, bytes(32))).to_text()
    assert one != Checkpoint("log", TreeHead(4, bytes(32))).to_text()
    assert one != Checkpoint("log", TreeHead(3, bytes(31) + b"\x01")).to_text()
