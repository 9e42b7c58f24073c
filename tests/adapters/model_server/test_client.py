"""What the client makes of a model process that is absent, busy, wrong or confused."""

import dataclasses
import math
import socket
import struct
from collections.abc import Callable

import httpx
import pytest

from adapters.model_server import wire
from adapters.model_server.client import (
    HttpModelServer,
    MalformedAnswerError,
    MisdirectedAnswerError,
    QuestionTooLargeError,
    RefusedQuestionError,
)
from clinical.errors import Loudness
from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.prediction import Forecast
from clinical.prediction.trajectory import LatentTrajectory
from clinical.services.ports import ModelBusyError, ModelUnavailableError
from tests.adapters.model_server.builders import (
    FINGERPRINT,
    MONTH,
    forecast_for,
    free_port,
    question,
)


def server_that(answer: Callable[[httpx.Request], httpx.Response]) -> HttpModelServer:
    """A client whose network is a function: for what a real server cannot be made to say."""
    return HttpModelServer("http://model", 1.0, transport=httpx.MockTransport(answer))


def server_saying(answer: wire.Answer) -> HttpModelServer:
    return server_that(lambda _: httpx.Response(200, content=wire.encode_answer(answer)))


@pytest.mark.parametrize("status", [408, 429])
def test_a_refusal_for_want_of_room_or_time_means_busy(status: int) -> None:
    with pytest.raises(ModelBusyError):
        server_that(lambda _: httpx.Response(status)).forecast(*question())


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_or_stopping_process_means_unavailable(status: int) -> None:
    with pytest.raises(ModelUnavailableError):
        server_that(lambda _: httpx.Response(status)).forecast(*question())


def test_a_process_that_is_not_there_means_unavailable() -> None:
    with pytest.raises(ModelUnavailableError):
        HttpModelServer(f"http://127.0.0.1:{free_port()}", 1.0).forecast(*question())


def test_a_process_that_never_answers_means_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = HttpModelServer(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)
        with pytest.raises(ModelBusyError):
            server.forecast(*question())
        server.close()


def test_a_request_that_is_no_request_is_refused_for_good() -> None:
    with pytest.raises(RefusedQuestionError) as caught:
        server_that(lambda _: httpx.Response(400)).forecast(*question())
    assert caught.value.loudness is Loudness.REJECTED


def test_a_question_beyond_the_limit_is_not_even_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal of a server that is still being sent to would be lost with the connection."""
    monkeypatch.setattr(wire, "MAX_QUESTION_BYTES", 100)
    asked: list[httpx.Request] = []
    server = server_that(lambda request: asked.append(request) or httpx.Response(503))
    with pytest.raises(QuestionTooLargeError):
        server.forecast(*question())
    assert asked == []


def test_a_question_too_large_for_the_process_has_a_name() -> None:
    with pytest.raises(QuestionTooLargeError):
        server_that(lambda _: httpx.Response(413)).forecast(*question())


@pytest.mark.parametrize("body", [b"", b"\x00", b"<html>", b"no data provided"])
def test_an_answer_that_is_no_message_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        server_that(lambda _: httpx.Response(200, content=body)).forecast(*question())


def test_an_answer_of_another_sort_is_malformed() -> None:
    with pytest.raises(MalformedAnswerError):
        server_saying(wire.FingerprintAnswer(FINGERPRINT)).forecast(*question())
    with pytest.raises(MalformedAnswerError):
        server_saying(wire.ForecastAnswer(forecast_for(*question()))).fingerprint()


def test_an_answer_about_another_timeline_is_misdirected() -> None:
    request, timeline = question()
    other = forecast_for(request, question(num_events=2)[1])
    with pytest.raises(MisdirectedAnswerError):
        server_saying(wire.ForecastAnswer(other)).forecast(request, timeline)


def test_an_answer_under_another_seed_is_misdirected() -> None:
    request, timeline = question()
    other = forecast_for(question(seed=1)[0], timeline)
    with pytest.raises(MisdirectedAnswerError):
        server_saying(wire.ForecastAnswer(other)).forecast(request, timeline)


def test_a_sound_answer_is_given_back_as_it_was_said() -> None:
    request, timeline = question()
    said = forecast_for(request, timeline)
    assert server_saying(wire.ForecastAnswer(said)).forecast(request, timeline) == said


def unsound(forecast: Forecast) -> list[Forecast]:
    """The same answer, wrong in one way each."""
    readout = forecast.readouts[0]
    nan_latent = struct.pack("<2f", math.nan, 0.0)
    trajectories = [
        LatentTrajectory((MONTH,), 2, nan_latent, (0.5,)),
        LatentTrajectory((MONTH,), 2, struct.pack("<2f", 0.0, -math.inf), (0.5,)),
        LatentTrajectory((MONTH,), 2, b"\x00" * 8, (math.nan,)),
        LatentTrajectory((MONTH,), 2, b"\x00" * 8, (0.5,), noise=(math.inf,)),
        LatentTrajectory((MONTH,), 2, b"\x00" * 8, (0.5,), nan_latent),
        LatentTrajectory((MONTH,), 2, b"\x00" * 8, (0.5,), b"\x00" * 3),
        None,
    ]
    intervals = (dataclasses.replace(readout.intervals[0], high=math.inf),)
    readouts = [
        dataclasses.replace(readout, estimate=math.nan),
        dataclasses.replace(readout, intervals=intervals),
    ]
    return [
        *(dataclasses.replace(forecast, trajectory=wrong) for wrong in trajectories),
        *(dataclasses.replace(forecast, readouts=(wrong,)) for wrong in readouts),
        dataclasses.replace(forecast, familiarity=math.nan),
        dataclasses.replace(forecast, unseen_code_share=math.nan),
    ]


@pytest.mark.parametrize("number", range(10))
def test_an_answer_with_what_is_no_number_is_malformed(number: int) -> None:
    request, timeline = question()
    wrong = unsound(forecast_for(request, timeline))[number]
    with pytest.raises(MalformedAnswerError):
        server_saying(wire.ForecastAnswer(wrong)).forecast(request, timeline)


def test_an_abstention_needs_no_trajectory() -> None:
    request, timeline = question()
    withheld = dataclasses.replace(
        forecast_for(request, timeline),
        trajectory=None,
        readouts=(),
        abstention=Abstention(AbstentionReason.TOO_FEW_EVENTS, "three events"),
    )
    assert server_saying(wire.ForecastAnswer(withheld)).forecast(request, timeline) == withheld


def test_a_question_refused_for_good_carries_the_code_of_the_refusal() -> None:
    refusal = wire.Refusal("prediction.impossible_horizon", "why", Loudness.REJECTED)
    with pytest.raises(RefusedQuestionError) as caught:
        server_saying(refusal).forecast(*question())
    assert caught.value.refusal_code == "prediction.impossible_horizon"


@pytest.mark.parametrize("loudness", [Loudness.BROKEN, Loudness.OPERATIONAL])
def test_a_failure_of_the_model_means_unavailable(loudness: Loudness) -> None:
    with pytest.raises(ModelUnavailableError):
        server_saying(wire.Refusal("model.failed", "", loudness)).forecast(*question())


def test_the_fingerprint_is_asked_for_once_in_a_while() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=wire.encode_answer(wire.FingerprintAnswer(FINGERPRINT)))

    server = server_that(answer)
    assert [server.fingerprint(), server.fingerprint()] == [FINGERPRINT, FINGERPRINT]
    assert [request.url.path for request in asked] == ["/fingerprint"]


def test_a_busy_process_has_no_fingerprint_to_give() -> None:
    with pytest.raises(ModelUnavailableError):
        server_that(lambda _: httpx.Response(429)).fingerprint()


def test_a_proxy_of_the_environment_never_sees_a_timeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = HttpModelServer(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)
        with pytest.raises(ModelBusyError):
            server.forecast(*question())
        server.close()
