"""Requests to a platform: what is asked again, and for how long; errors as it told them."""

import json

import httpx
import pytest

from fitcast import errors
from fitcast.scheduler.session.remote.address import BrokerAddress
from fitcast.scheduler.session.remote.calls import TRY_FOR_S, BrokerCalls
from fitcast.scheduler.session.remote.uploading import PIECE_BYTES, upload

HERE = BrokerAddress("http://127.0.0.1:1")


class Platform(httpx.BaseTransport):
    """Answers as it is told to, in virtual time."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.now_s = 0.0
        self.calls = BrokerCalls(
            HERE, "secret", transport=self, clock=lambda: self.now_s, pause=self._pause
        )

    def _pause(self, seconds):
        self.now_s += seconds

    def handle_request(self, request):
        self.asked.append(request)
        self.now_s += 0.01
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        status, told, headers = (*answer, {})[:3] if len(answer) < 3 else answer
        return httpx.Response(status, content=json.dumps(told).encode(), headers=headers)


def error(kind, message="said so"):
    return {"error": {"code": "a", "type": kind, "message": message}}


def test_who_asks_is_told_with_each_request():
    platform = Platform((200, {"version": "1"}))
    assert platform.calls.about() == {"version": "1"}
    (asked,) = platform.asked
    assert asked.headers["Authorization"] == "Bearer secret"
    assert str(asked.url) == "http://127.0.0.1:1/v1/about"


@pytest.mark.parametrize(
    "away", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), (503, {}), (502, {})]
)
def test_one_that_is_away_for_a_moment_is_asked_again(away):
    platform = Platform(away, away, away, (200, {"workflow_id": "w"}))
    assert platform.calls.workflow("w") == {"workflow_id": "w"}
    assert len(platform.asked) == 4


@pytest.mark.parametrize("away", [httpx.ConnectError("refused"), (503, {})])
def test_one_that_stays_away_is_given_up(away):
    platform = Platform(away)
    with pytest.raises(errors.BrokerUnreachableError, match=r"127\.0\.0\.1"):
        platform.calls.about()
    assert TRY_FOR_S / 2 < platform.now_s < 1.5 * TRY_FOR_S


def test_one_that_has_too_much_to_do_is_asked_when_it_says():
    platform = Platform((429, error("LimitError"), {"Retry-After": "7"}), (200, {}))
    assert platform.calls.about() == {}
    assert 7.0 <= platform.now_s < 8.0


def test_a_limit_that_stays_is_told():
    platform = Platform((429, error("LimitError", "your quota is 8"), {"Retry-After": "5"}))
    with pytest.raises(errors.LimitError, match="your quota is 8"):
        platform.calls.create({}, "key")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "AuthenticationError"),
        (403, "ForbiddenError"),
        (404, "UnknownWorkflowError"),
        (409, "IdempotencyError"),
        (422, "SealError"),
        (400, "OfANewerFitcastError"),
    ],
)
def test_a_refusal_is_an_error_of_ours_and_not_asked_again(status, kind):
    platform = Platform((status, error(kind)))
    with pytest.raises(getattr(errors, kind, errors.FitcastError), match="said so"):
        platform.calls.workflow("w")
    assert len(platform.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(200, text="<html>sign in</html>"),
        lambda _: httpx.Response(404, text="<html>not here</html>"),
        lambda _: httpx.Response(302, headers={"Location": "http://127.0.0.1:2/"}),
        lambda _: httpx.Response(200, json=[1]),
        lambda _: httpx.Response(500, json={"error": "text"}),
    ],
)
def test_what_answers_but_is_no_platform(answer):
    platform = Platform(answer)
    with pytest.raises(errors.BrokerUnreachableError, match="check the address"):
        platform.calls.about()
    assert len(platform.asked) == 1  # and the token went nowhere else


class Receiver(Platform):
    """Takes an upload in, and breaks off as often as it is told to."""

    def __init__(self, *breaks):
        super().__init__(self._answer)
        self.breaks = list(breaks)
        self.data = b""

    def _answer(self, request):
        if request.method == "GET":
            return httpx.Response(200, json={"received": len(self.data)})
        assert int(request.headers["Upload-Offset"]) == len(self.data)
        for piece in request.stream:
            if self.breaks and len(self.data) + len(piece) > self.breaks[0]:
                self.data += piece[: self.breaks.pop(0) - len(self.data)]
                raise httpx.ReadError("broken off")
            self.data += piece
        return httpx.Response(200, json={"received": len(self.data)})

    def upload(self, path):
        told = []
        upload(
            self.calls,
            "w",
            "dataset",
            path,
            told.append,
            clock=lambda: self.now_s,
            pause=self._pause,
        )
        return told


def test_an_upload_goes_on_where_it_broke_off(tmp_path):
    content = bytes(range(256)) * 20_000
    path = tmp_path / "file"
    path.write_bytes(content)
    receiver = Receiver(0, 1, 1_048_577, 5_119_999)
    told = receiver.upload(path)
    assert receiver.data == content
    assert told == sorted(told)
    assert told[-1] == len(content) < PIECE_BYTES


def test_an_upload_that_gets_nowhere_is_given_up(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"some")
    receiver = Receiver(*[0] * 1000)
    with pytest.raises(errors.BrokerUnreachableError):
        receiver.upload(path)
    assert receiver.now_s < 1000


def test_an_empty_file_is_there_at_once(tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert Receiver().upload(path) == []


class Refusing(Receiver):
    """Refuses a piece as often as it is told to, before it takes any."""

    def __init__(self, *refusals):
        super().__init__()
        self.refusals = list(refusals)

    def _answer(self, request):
        if request.method == "PATCH" and self.refusals:
            status, kind = self.refusals.pop(0)
            return httpx.Response(status, json=error(kind))
        return super()._answer(request)


def test_an_upload_waits_for_its_turn_and_for_what_stalled(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"some")
    waits = [(429, "LimitError"), (503, "BusyError"), (408, "UploadStalledError")]
    receiver = Refusing(*waits, (409, "UploadError"), (507, "StoreError"))
    receiver.upload(path)
    assert receiver.data == b"some"
    assert receiver.refusals == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(413, "TooLargeError"), (409, "WorkflowStateError"), (403, "ForbiddenError")],
)
def test_an_upload_that_is_refused_for_good_is_given_up_at_once(tmp_path, status, kind):
    path = tmp_path / "file"
    path.write_bytes(b"some")
    receiver = Refusing((status, kind))
    with pytest.raises(getattr(errors, kind)):
        receiver.upload(path)
    assert receiver.data == b""
    assert receiver.now_s < 1.0
