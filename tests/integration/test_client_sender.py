"""The thread between callers and Redis at its edges: no thread to be had, a stream that nobody drains, floods, signals."""

import os
import signal
import time
from pathlib import Path
from threading import Thread

import pytest
from redis import Redis

from recovery.client import RecoveryClient, Stats, delivery
from recovery.client.draft import Draft
from recovery.client.sender import Sender
from tests.streams import failures
from tests.support import eventually


def draft(number: int, message: str = "") -> Draft:
    return Draft(str(number), "web", "unknown", "error", "high", message, "test", time.time(), "{}", {})


def test_reports_in_a_row_travel_together_and_keep_their_order(valkey_url: str, redis_client: Redis, tmp_path: Path) -> None:
    sender = Sender(valkey_url, tmp_path)
    for number in range(2_000):
        sender.put(draft(number))

    eventually(lambda: sender.stats() == Stats(sent=2_000))
    sender.close()

    assert [failure.id for failure in failures(redis_client)] == [str(number) for number in range(2_000)]
    assert redis_client.xlen("recovery:reports") < 500


def test_a_report_after_a_silence_is_sent_at_once(valkey_url: str, redis_client: Redis, tmp_path: Path) -> None:
    sender = Sender(valkey_url, tmp_path)
    for number in range(3):
        sender.put(draft(number))
        eventually(lambda: sender.stats().sent == number + 1)  # noqa: B023 - awaited before the next round
        eventually(lambda: sender._asleep)
    sender.close()


def test_without_a_thread_the_end_keeps_what_waits(
    valkey_url: str, redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    sender = Sender(valkey_url, tmp_path)
    for number in range(600):
        sender.put(draft(number))
    assert sender.stats() == Stats(queued=600)

    sender.close()

    assert sender.stats() == Stats(spooled=600)
    monkeypatch.undo()
    with RecoveryClient(valkey_url, spool=tmp_path) as client:
        eventually(lambda: client.stats().sent == 600)
    assert len(failures(redis_client)) == 600


def test_a_signal_that_comes_while_the_thread_is_started_may_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = Sender("redis://127.0.0.1:1/0", tmp_path)
    start = Thread.start

    def interrupted(thread: Thread) -> None:
        sender.put(draft(2))
        start(thread)

    monkeypatch.setattr(Thread, "start", interrupted)

    sender.put(draft(1))

    monkeypatch.undo()
    eventually(lambda: sender.stats() == Stats(spooled=2))
    sender.close()


def test_a_stream_that_nobody_drains_is_bounded_and_it_is_said(
    valkey_url: str, redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "STREAM_BYTES", 1_000_000)
    monkeypatch.setattr(delivery, "WEIGH_EVERY", 0.0)
    sender = Sender(valkey_url, tmp_path)
    for number in range(3_000):
        sender.put(draft(number, "x" * 3_000))

    eventually(lambda: sender.stats().sent == 3_000)
    sender.close()

    assert (redis_client.memory_usage("recovery:reports") or 0) < 3_000_000
    assert failures(redis_client)[-1].id == "2999", "the newest stay"
    assert "nobody takes in the failure reports" in caplog.text


def test_a_signal_handler_may_report_while_its_thread_reports(valkey_url: str, redis_client: Redis, tmp_path: Path) -> None:
    with RecoveryClient(valkey_url, spool=tmp_path) as client:
        client.report("web", "first")
        before = signal.signal(signal.SIGUSR1, lambda *_: client.report("web", "in a handler"))
        try:
            for _ in range(300):
                client.report("web", "in the thread")
                os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)

        eventually(lambda: client.stats() == Stats(sent=601))
