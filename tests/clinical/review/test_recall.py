"""How a record is named."""

import pytest

from clinical.review.recall import MalformedRecordError, RecordName


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Observation/o-1", ("Observation", "o-1", "")),
        ("Observation/o-1/3", ("Observation", "o-1", "3")),
    ],
)
def test_a_record_is_named_by_type_id_and_perhaps_version(
    text: str, parts: tuple[str, ...]
) -> None:
    record = RecordName.parse(text)
    assert (record.record_type, record.record_id, record.version) == parts
    assert record.reference == text


@pytest.mark.parametrize("text", ["", "Observation", "Observation/", "/o-1", "a/b/c/d", "a/b/"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(MalformedRecordError):
        RecordName.parse(text)
