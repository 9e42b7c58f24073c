"""Spans carry what is listed and nothing else, also when something breaks; and nothing at all when off."""

import os
from collections.abc import Iterator

import pytest

from adapters.operations import tracing
from clinical.services.ports import ModelBusyError
from tests.receiver import TraceReceiver

CANARY = "canary-of-a-patient"


@pytest.fixture
def receiver() -> Iterator[TraceReceiver]:
    with TraceReceiver() as made:
        tracing.configure("test", made.url)
        yield made
        tracing.flush()


def test_where_no_place_is_named_there_are_no_spans_and_no_trace_to_pass_on() -> None:
    tracing.configure("test", None)
    with tracing.span("work") as span:
        assert not span.is_recording()
        assert tracing.traceparent() == ""
    assert not tracing.is_on()


def test_only_listed_attributes_and_no_text_of_an_error_leave(receiver: TraceReceiver) -> None:
    with pytest.raises(ValueError, match=CANARY), tracing.span("broken", note=CANARY):
        raise ValueError(CANARY)
    with tracing.span("busy", attempts=2) as span:
        tracing.say(span, patient=CANARY)
        tracing.note("happened", text=CANARY)
        tracing.failed(span, ModelBusyError(CANARY))
    tracing.flush()
    said = {
        span.name: {each.key: each.value for each in span.attributes} for span in receiver.spans()
    }
    assert said["broken"]["error_code"].string_value == "ValueError"
    assert said["busy"]["error_code"].string_value == "model.busy"
    assert said["busy"]["attempts"].int_value == 2
    assert CANARY.encode() not in b"".join(receiver.bodies)


def test_work_goes_on_in_the_trace_that_owed_it_and_another_is_only_linked(
    receiver: TraceReceiver,
) -> None:
    with tracing.span("owes", parent=""):
        owed = tracing.traceparent()
    with tracing.span("does", parent=owed):
        pass
    with tracing.span("signs", parent=""):
        tracing.link(owed)
        tracing.link("")  # a prediction of which no trace is kept
        tracing.link("no traceparent")
    tracing.flush()
    owes, does, signs = receiver.spans()
    assert (does.trace_id, does.parent_span_id) == (owes.trace_id, owes.span_id)
    assert signs.trace_id != owes.trace_id
    assert [each.trace_id for each in signs.links] == [owes.trace_id]


def test_a_child_of_a_process_that_keeps_traces_sends_its_own(receiver: TraceReceiver) -> None:
    with tracing.span("parent"):
        pass
    child = os.fork()
    if child == 0:
        tracing.configure("test", receiver.url)
        with tracing.span("child"):
            pass
        tracing.flush()
        os._exit(0)
    os.waitpid(child, 0)
    tracing.flush()
    assert sorted(span.name for span in receiver.spans()) == ["child", "parent"]


def test_a_collector_that_is_away_breaks_nothing() -> None:
    tracing.configure("test", "http://127.0.0.1:1/v1/traces")
    assert tracing.is_on()
    with tracing.span("work"):
        assert tracing.traceparent()
    tracing.flush()
    assert not tracing.is_on()
