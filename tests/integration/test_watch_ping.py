"""The ping to the outside, against listeners that answer, refuse, hang and drip; its URL is nobody's business."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recovery.config.fleet import Fleet
from recovery.config.load import parse
from recovery.errors import ConfigurationError
from recovery.models import ServiceState
from recovery.store.memory import MemoryStore
from recovery.watch import PlatformStatus, Watch
from tests.support import free_port
from workers import ping
from workers.cli.parts import kinds
from workers.tasks import watch as tasks

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "2f6ad5c1-secret"


class Listener(ThreadingHTTPServer):
    """Counts who asks, and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://user:pw-{SECRET}@127.0.0.1:{self.server_port}/ping/{SECRET}?token={SECRET}"


class Answer(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@contextlib.contextmanager
def silent(drip: bytes = b"") -> Iterator[str]:
    """The URL of a listener that accepts and never answers, or sends `drip` again and again without an end."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    while not ended.wait(0.02):
                        connection.sendall(drip)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}"
        ended.set()
        thread.join()


class Platform:
    """A platform in memory that ticks and sweeps, unless told otherwise."""

    def __init__(self, url: str | None, *, ticks: bool = True, sweeps: bool = True) -> None:
        self.store = MemoryStore()
        checks = [{"name": "tcp", "type": "tcp", "interval": 5, "timeout": 1}]
        self._fleet = Fleet.model_validate(
            {"version": "v1", "platform": {"ping_url": url}, "services": {"shop": {"name": "shop", "checks": checks}}}
        )
        self.watch = Watch(self.store, self.fleet, (), lambda: NOW)
        if sweeps:
            self.store.record_sweep((), (), [ServiceState("shop", seen_at=NOW)], ())
        if ticks:
            self.watch.ticked("1@host")

    def fleet(self) -> Fleet:
        return self._fleet


def tell(monkeypatch: pytest.MonkeyPatch, platform: Platform) -> None:
    monkeypatch.setattr(tasks, "platform", lambda: platform)
    tasks.tell_outside()


def test_an_answer_of_200_is_all_that_is_wanted(listener: Listener) -> None:
    assert ping.ask(listener.url) is None
    assert listener.asked == [f"/ping/{SECRET}?token={SECRET}"]


def test_any_other_answer_is_told(listener: Listener) -> None:
    listener.status = 503

    assert ping.ask(listener.url) == "it answered 503"


def test_a_listener_that_accepts_and_never_answers_is_left_alone_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "TIMEOUT", 0.3)

    with silent() as url:
        began = time.monotonic()
        assert ping.ask(url) == "no answer within 0.3 s"
        assert time.monotonic() - began < 5


def test_a_listener_that_drips_is_left_alone_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "TIMEOUT", 0.3)

    with silent(drip=b"HTTP/1.1 100 Continue\r\n\r\n") as url:
        assert ping.ask(url) == "no answer within 0.3 s"


def test_a_closed_port_is_told_in_words() -> None:
    assert ping.ask(f"http://127.0.0.1:{free_port()}/{SECRET}") == "cannot connect: Connection refused"


@pytest.mark.parametrize("url", [f"nonsense/{SECRET}", f"ftp://host/{SECRET}", f"http://[::1/{SECRET}", f"http://host:port/{SECRET}", ""])
def test_a_url_that_is_none_breaks_nothing_and_is_not_repeated(url: str) -> None:
    said = ping.ask(url)

    assert said
    assert SECRET not in said
    assert SECRET not in ping.place(url)


@pytest.mark.parametrize("url", [f"hc.example/{SECRET}", f"ftp://hc.example/{SECRET}", f"http://[::1/{SECRET}", f"https:///{SECRET}"])
def test_a_url_that_is_none_is_refused_in_the_configuration_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(f'[platform]\nping_url = "{url}"\n', kinds(), environ={})

    assert refused.value.problems == ("recovery.toml:2: platform.ping_url: must be a URL that begins with http:// or https://",)


def test_of_a_url_only_the_host_is_shown() -> None:
    assert ping.place(f"https://u:{SECRET}@hc.example:8443/{SECRET}?q={SECRET}") == "https://hc.example:8443"


def test_a_healthy_platform_asks_and_writes_down_that_it_did(monkeypatch: pytest.MonkeyPatch, listener: Listener) -> None:
    platform = Platform(listener.url)

    tell(monkeypatch, platform)

    assert len(listener.asked) == 1
    assert platform.store.pulses()["ping"].detail == {"ok": True, "error": None}


def test_a_platform_that_is_not_well_says_nothing(monkeypatch: pytest.MonkeyPatch, listener: Listener) -> None:
    degraded, blind = Platform(listener.url, ticks=False), Platform(listener.url, sweeps=False)
    assert (degraded.watch.health().status, blind.watch.health().status) == (PlatformStatus.DEGRADED, PlatformStatus.BLIND)

    tell(monkeypatch, degraded)
    tell(monkeypatch, blind)

    assert listener.asked == []


def test_without_a_url_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Platform(None)

    tell(monkeypatch, platform)

    assert "ping" not in platform.store.pulses()


def test_an_outage_of_the_listener_is_told_once_at_its_begin_and_once_at_its_end(
    monkeypatch: pytest.MonkeyPatch, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    platform = Platform(listener.url)
    caplog.set_level(logging.INFO)

    for status in (200, 500, 502, 500, 200, 200):
        listener.status = status
        tell(monkeypatch, platform)

    told = [record.getMessage() for record in caplog.records if "listener" in record.getMessage()]
    place = f"http://127.0.0.1:{listener.server_port}"
    assert told == [
        f"the listener at {place} was not told that all is well: it answered 500",
        f"the listener at {place} answers again",
    ]
    assert len(listener.asked) == 6
    assert SECRET not in caplog.text
    assert SECRET not in str(platform.store.pulses())
