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
    ForeignAnswerError,
    HttpModelServer,
    MalformedAnswerError,
    MisdirectedAnswerError,
    QuestionTooLargeError,
    RefusedQuestionError,
)
from clinical.errors import Loudness
from clinical.prediction.abstention import Abstention, AbstentionReason
from clinical.prediction.calibration import ReliabilityBin
from clinical.prediction.memory import Answered
from clinical.prediction.prediction import Forecast, ModelFingerprint
from clinical.prediction.readout import Interval, ReadoutKind
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


def server_saying(
    answer: wire.Answer, model: ModelFingerprint | None = FINGERPRINT
) -> HttpModelServer:
    """A process that answers so, and says that it serves `model`; None: it answers that question so too."""

    def said(request: httpx.Request) -> httpx.Response:
        is_asked_who = request.url.path == "/fingerprint" and model is not None
        told = wire.FingerprintAnswer(model) if is_asked_who and model else answer
        return httpx.Response(200, content=wire.encode_answer(told))

    return server_that(said)


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
        server_saying(wire.ForecastAnswer(forecast_for(*question())), None).fingerprint()


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


def test_an_answer_about_fewer_events_is_misdirected() -> None:
    request, timeline = question()
    said = forecast_for(request, timeline)
    fewer = dataclasses.replace(said, capsule=dataclasses.replace(said.capsule, num_events=1))
    with pytest.raises(MisdirectedAnswerError):
        server_saying(wire.ForecastAnswer(fewer)).forecast(request, timeline)


def test_an_answer_of_another_model_than_the_one_that_serves_is_foreign() -> None:
    other = dataclasses.replace(FINGERPRINT, manifest_digest="x" * 64)
    said = wire.ForecastAnswer(forecast_for(*question()))
    with pytest.raises(ForeignAnswerError):
        server_saying(said, other).forecast(*question())


def test_a_model_that_took_over_since_it_was_asked_is_not_foreign() -> None:
    serving = [dataclasses.replace(FINGERPRINT, version="0"), FINGERPRINT]
    said = wire.ForecastAnswer(forecast_for(*question()))

    def answer(request: httpx.Request) -> httpx.Response:
        is_asked_who = request.url.path == "/fingerprint"
        told = wire.FingerprintAnswer(serving.pop(0)) if is_asked_who else said
        return httpx.Response(200, content=wire.encode_answer(told))

    server = server_that(answer)
    assert server.fingerprint() != FINGERPRINT
    assert server.forecast(*question()) == said.forecast
    assert server.forecast(*question()) == said.forecast  # nobody is asked a third time


def test_a_sound_answer_is_given_back_as_it_was_said() -> None:
    request, timeline = question()
    said = forecast_for(request, timeline)
    assert server_saying(wire.ForecastAnswer(said)).forecast(request, timeline) == said


def no_numbers(forecast: Forecast) -> list[Forecast]:
    """The same answer, with something in it that is no number or no probability, in one place each."""
    readout = forecast.readouts[0]
    nan_latent = struct.pack("<2f", math.nan, 0.0)
    trajectories = [
        LatentTrajectory((MONTH,), 2, nan_latent, (0.5,)),
        LatentTrajectory((MONTH,), 2, struct.pack("<2f", 0.0, -math.inf), (0.5,)),
        LatentTrajectory((MONTH,), 2, b"\x00" * 8, (math.nan,)),
        LatentTrajectory((MONTH,), 2, b"\x00" * 8, (0.5,), noise=(math.inf,)),
        LatentTrajectory((MONTH,), 2, b"\x00" * 8, (0.5,), nan_latent),
    ]
    intervals = [Interval(0.1, math.inf, 0.9), Interval(-0.1, 0.4, 0.9), Interval(0.1, 0.4, 2.0)]
    odd_bin = ReliabilityBin(math.nan, 0.2, 9)
    readouts = [
        *(dataclasses.replace(readout, estimate=number) for number in (math.nan, 1.0001, -1e-9)),
        *(dataclasses.replace(readout, intervals=(interval,)) for interval in intervals),
        dataclasses.replace(readout, reliability=odd_bin),
    ]
    return [
        *(dataclasses.replace(forecast, trajectory=wrong) for wrong in trajectories),
        *(dataclasses.replace(forecast, readouts=(wrong,)) for wrong in readouts),
        dataclasses.replace(forecast, familiarity=math.nan),
    ]


@pytest.mark.parametrize("number", range(13))
def test_an_answer_with_what_is_no_number_becomes_an_abstention(number: int) -> None:
    request, timeline = question()
    said = forecast_for(request, timeline)
    wrong = no_numbers(said)[number]
    kept = server_saying(wire.ForecastAnswer(wrong)).forecast(request, timeline)
    assert kept.abstention is not None
    assert kept.abstention.reason is AbstentionReason.MODEL_NOT_NUMERIC
    assert (kept.trajectory, kept.readouts, kept.familiarity) == (None, (), None)
    assert kept.capsule == said.capsule
    remembering = wire.RememberingAnswer(Answered(wrong))
    assert server_saying(remembering).answer(request, timeline, None) == Answered(kept)


def test_a_quantity_may_lie_outside_of_what_a_probability_may() -> None:
    request, timeline = question()
    said = forecast_for(request, timeline)
    high = dataclasses.replace(
        said.readouts[0],
        kind=ReadoutKind.QUANTITY,
        estimate=140.0,
        intervals=(Interval(-3.0, 180.0, 0.9),),
    )
    said = dataclasses.replace(said, readouts=(high,))
    assert server_saying(wire.ForecastAnswer(said)).forecast(request, timeline) == said


def out_of_shape(forecast: Forecast) -> list[Forecast]:
    withheld = Abstention(AbstentionReason.TOO_FEW_EVENTS, "three events")
    uneven = LatentTrajectory((MONTH,), 2, b"\x00" * 8, (0.5,), b"\x00" * 3)
    return [
        dataclasses.replace(forecast, trajectory=None),
        dataclasses.replace(forecast, trajectory=uneven),
        dataclasses.replace(forecast, abstention=withheld),
        dataclasses.replace(forecast, abstention=withheld, trajectory=None),
        dataclasses.replace(forecast, unseen_code_share=math.nan),
        dataclasses.replace(forecast, unseen_code_share=1.5),
    ]


@pytest.mark.parametrize("number", range(6))
def test_an_answer_that_does_not_hold_together_is_malformed(number: int) -> None:
    request, timeline = question()
    wrong = out_of_shape(forecast_for(request, timeline))[number]
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
