"""Logs: what may be said and what is left out."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from adapters import telemetry
from clinical.services.ports import ModelBusyError

CANARY = "canary-7f3a-patient-name"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The log of a process, with pytest's own handlers put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    telemetry.configure("test", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def _last(stream: io.StringIO) -> dict[str, object]:
    return json.loads(stream.getvalue().splitlines()[-1])  # type: ignore[no-any-return]


def test_a_line_is_json_with_moment_level_and_process(lines: io.StringIO) -> None:
    telemetry.logger("room").info("message done", message_id="m1", attempts=2)
    line = _last(lines)
    assert line["event"] == "message done"
    assert (line["level"], line["logger"], line["process"]) == ("info", "room", "test")
    assert (line["message_id"], line["attempts"]) == ("m1", 2)
    assert str(line["at"]).endswith("Z")


def test_a_field_that_is_not_listed_is_dropped_and_counted(lines: io.StringIO) -> None:
    before = telemetry.DROPPED_FIELDS._value.get()
    telemetry.logger("room").warning("seen", patient_name=CANARY, birth_date=CANARY)
    assert CANARY not in lines.getvalue()
    assert telemetry.DROPPED_FIELDS._value.get() - before == 2


def test_the_text_of_an_exception_is_never_written(lines: io.StringIO) -> None:
    try:
        raise ModelBusyError(CANARY)
    except ModelBusyError:
        telemetry.logger("room").exception("attempt failed")
        logging.getLogger("some.library").exception("it failed: %s", CANARY)
    assert CANARY not in lines.getvalue()
    ours, theirs = (json.loads(line) for line in lines.getvalue().splitlines())
    for line in (ours, theirs):
        assert line["error_type"] == "ModelBusyError"
        assert line["error_code"] == "model.busy"
        assert "test_telemetry.py" in line["error_at"]


def test_of_a_library_only_the_template_of_its_message_is_kept(lines: io.StringIO) -> None:
    logging.getLogger("sqlalchemy.engine").warning("row %r refused", CANARY)
    assert _last(lines)["event"] == "row %r refused"
    logging.getLogger("odd").warning({"name": CANARY})
    assert _last(lines)["event"] == "dict"
    assert CANARY not in lines.getvalue()
