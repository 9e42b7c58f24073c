"""Files of FHIR become deliveries: nothing lost, nothing held that need not be, no name passed on."""

import gzip
import hashlib
import json
import tracemalloc
from pathlib import Path

import pytest

from adapters.fhir.files import NothingToImportError, deliveries
from adapters.fhir.reader import BulkReader
from clinical.services.delivery import Delivery, Door
from tests.adapters.fhir.records import bundle, observation
from tests.fakes import SeededIdentities, SettableClock

LINE = json.dumps(observation()).encode()


def lines(count: int) -> bytes:
    return b"".join(LINE.replace(b'"o1"', f'"o{n}"'.encode()) + b"\n" for n in range(count))


def found_in(path: Path) -> list[Delivery]:
    return list(
        deliveries(path, site="north", clock=SettableClock(), identities=SeededIdentities())
    )


def record_ids(found: list[Delivery]) -> list[str]:
    readings = [BulkReader().read(each) for each in found]
    return [event.source.record_id for reading in readings for event in reading.events]


def reasons(found: list[Delivery]) -> list[tuple[str, str]]:
    readings = [BulkReader().read(each) for each in found]
    return [(q.position, q.reason_code) for reading in readings for q in reading.quarantined]


def test_a_bundle_is_one_delivery_of_its_very_bytes(tmp_path: Path) -> None:
    body = bundle(observation())
    for name, content in (("jane-doe.json", body), ("jane-doe.json.gz", gzip.compress(body))):
        (tmp_path / name).write_bytes(content)
        (found,) = found_in(tmp_path / name)
        assert found.body == content
        assert found.sender_id == hashlib.sha256(content).hexdigest()
        assert found.door is Door.FHIR_BULK
        assert "jane" not in repr(found)
        assert record_ids([found]) == ["o1"]


def test_a_folder_is_read_in_the_order_of_its_paths_and_other_files_are_left(
    tmp_path: Path,
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.json").write_bytes(bundle(observation(id="second")))
    (tmp_path / "a.ndjson").write_bytes(json.dumps(observation(id="first")).encode())
    (tmp_path / "README.md").write_text("not for us")
    assert record_ids(found_in(tmp_path)) == ["first", "second"]


def test_a_path_without_fhir_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path, tmp_path / "notes.txt", tmp_path / "nowhere.json"):
        with pytest.raises(NothingToImportError):
            found_in(path)


@pytest.mark.parametrize("ending", [".ndjson", ".ndjson.gz", ".jsonl"])
def test_ndjson_is_cut_into_deliveries_of_whole_lines(tmp_path: Path, ending: str) -> None:
    content = lines(2500).rstrip(b"\n")
    path = tmp_path / f"Observation{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    found = found_in(path)
    assert b"".join(each.body for each in found) == content
    assert [each.context["first_line"] for each in found] == ["1", "1001", "2001"]
    assert all(len(each.body) <= 1024 * 1024 for each in found)
    assert record_ids(found) == [f"o{n}" for n in range(2500)]


def test_a_bad_line_is_quarantined_with_its_number_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(lines(2) + b"not json\n\n[]\r\n" + lines(1) + b'{"resourceType":"Observation"')
    found = found_in(path)
    assert record_ids(found) == ["o0", "o1", "o0"]
    assert reasons(found) == [
        ("line 3", "fhir.not_json"),
        ("line 5", "fhir.wrong_type"),
        ("line 7", "fhir.not_json"),
    ]


def test_a_truncated_gz_yields_what_was_read_and_then_says_that_it_broke_off(
    tmp_path: Path,
) -> None:
    content = lines(3000)
    cut = gzip.compress(content)[:-2000]
    path = tmp_path / "x.ndjson.gz"
    path.write_bytes(cut)
    found = found_in(path)
    assert reasons(found) == [("", "fhir.truncated_file")]
    read = record_ids(found)
    assert read == [f"o{n}" for n in range(len(read))]
    assert len(read) > 1000
    whole = b"".join(each.body for each in found)
    assert content.startswith(whole)


def test_a_truncated_gz_of_a_bundle_is_kept_and_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(bundle(observation()))[:-9])
    found = found_in(path)
    assert found[0].body == path.read_bytes()
    assert reasons(found) == [("", "fhir.truncated_file")]


def test_a_file_that_is_no_gzip_is_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson.gz"
    path.write_bytes(LINE)
    assert reasons(found_in(path)) == [("", "fhir.not_gzip")]


def test_a_line_without_end_is_set_aside_and_reading_goes_on_after_it(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(lines(1) + b'{"x":"' + b"y" * (11 * 1024 * 1024) + b'"}\n' + lines(1))
    found = found_in(path)
    assert record_ids(found) == ["o0", "o0"]
    assert reasons(found) == [("", "fhir.line_too_long")]
    assert [each.context["first_line"] for each in found] == ["1", "2", "3"]


def test_ndjson_of_any_size_is_read_in_flat_memory(tmp_path: Path) -> None:
    """200 MB, one delivery at a time."""
    path = tmp_path / "x.ndjson"
    block = (LINE + b" " * 2000 + b"\n") * 100
    with path.open("wb") as file:
        for _ in range(200_000_000 // len(block) + 1):
            file.write(block)
    tracemalloc.start()
    size = sum(
        len(each.body)
        for each in deliveries(path, site="n", clock=SettableClock(), identities=SeededIdentities())
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == path.stat().st_size >= 200_000_000
    assert peak < 8 * 1024 * 1024


def test_a_bundle_of_200_mb_is_refused_by_name_and_never_held(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    tracemalloc.start()
    (found,) = found_in(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reasons([found]) == [("", "fhir.too_large")]
    assert len(found.sender_id) == 64
    assert peak < 8 * 1024 * 1024


def test_reading_a_file_twice_gives_the_same_deliveries(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    path.write_bytes(lines(1500))
    assert found_in(path) == found_in(path)
