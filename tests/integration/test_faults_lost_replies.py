"""A Redis that does what it was told and whose answer is lost on the way: nothing locks itself out and nothing counts twice."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from recovery.client import RecoveryClient
from recovery.errors import StoreUnavailable
from recovery.store.connect import connect
from recovery.store.cooldowns import RedisCooldowns
from tests.support import ValkeyServer, eventually
from workers.dispatch import NOT_SENT
from workers.reports import FIELD, STREAM


class Proxy:
    """A TCP port in front of a unix socket that hangs up instead of passing the answer to a command with `lost` in it.

    Args:
        target: path of the server's socket.
    """

    def __init__(self, target: Path) -> None:
        self.lost = b""
        self.swallowed = 0
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in self._open:
            hang_up(each)
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                caller = self._server.accept()[0]
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(caller,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._target))
            self._open += [caller, server]
            answers = threading.Thread(target=self._pass_on, args=(server, caller))
            answers.start()
            try:
                while command := caller.recv(1 << 16):
                    if self.lost and self.lost in command:
                        self.lost, self.swallowed = b"", self.swallowed + 1
                        hang_up(caller)  # before the server hears of it, so that no answer can be quicker
                        server.sendall(command)
                        server.shutdown(socket.SHUT_WR)
                        break
                    server.sendall(command)
            except OSError:
                pass
            hang_up(server)
            answers.join(30)

    def _pass_on(self, server: socket.socket, caller: socket.socket) -> None:
        try:
            while answer := server.recv(1 << 16):
                caller.sendall(answer)
        except OSError:
            return
        finally:
            hang_up(caller)


def hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@pytest.fixture
def server(short_dir: Path) -> Iterator[ValkeyServer]:
    valkey = ValkeyServer(short_dir)
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.fixture
def proxy(server: ValkeyServer) -> Iterator[Proxy]:
    proxy = Proxy(server.socket)
    yield proxy
    proxy.close()


@pytest.fixture
def direct(server: ValkeyServer) -> Iterator[Redis]:
    with connect(server.url) as client:
        yield client


def test_fault_15_a_cooldown_whose_answer_was_lost_does_not_lock_its_holder_out(proxy: Proxy, direct: Redis) -> None:
    with connect(proxy.url) as client:
        cooldowns = RedisCooldowns(client)
        assert cooldowns.acquire("other", "restart", "attempt-1", 30)  # the server knows the script now
        proxy.lost = b"cooldown:{shop}"

        with pytest.raises(StoreUnavailable):
            cooldowns.acquire("shop", "restart", "attempt-1", 30)
        eventually(lambda: direct.exists("recovery:cooldown:{shop}:restart"), message="the server did as it was told")

        assert proxy.swallowed == 1, "it is not repeated behind the caller's back"
        assert cooldowns.acquire("shop", "restart", "attempt-1", 30)
        assert not cooldowns.acquire("shop", "restart", "attempt-2", 30)


def test_fault_15_a_message_whose_answer_was_lost_is_said_to_be_not_sent_and_its_copy_has_the_same_id(proxy: Proxy, direct: Redis) -> None:
    with Celery("sender", broker=proxy.url, set_as_current=False) as app:
        app.conf.update(task_publish_retry=False, broker_transport_options={"socket_timeout": 5}, task_default_queue="restart")
        proxy.lost = b"LPUSH"

        with pytest.raises(NOT_SENT):
            app.send_task("strategy.restart", kwargs={"attempt": 1}, task_id="recovery.1")
        eventually(lambda: direct.llen("restart") == 1, message="the server did as it was told")
        app.send_task("strategy.restart", kwargs={"attempt": 1}, task_id="recovery.1")

    copies: list[bytes] = direct.lrange("restart", 0, -1)  # type: ignore[assignment]
    assert [json.loads(copy)["headers"]["id"] for copy in copies] == ["recovery.1", "recovery.1"]


def test_fault_15_a_report_whose_answer_was_lost_is_sent_again_under_its_id(proxy: Proxy, direct: Redis, tmp_path: Path) -> None:
    with RecoveryClient(proxy.url, spool=tmp_path) as client:
        assert client.warm_up()
        proxy.lost = b"XADD"

        report = client.report("shop", category="service_unavailable", message="once")

        eventually(lambda: direct.xlen(STREAM) >= 2, 60, lambda: f"{proxy.swallowed} answers were lost")
    entries: list[tuple[bytes, dict[bytes, bytes]]] = direct.xrange(STREAM)  # type: ignore[assignment]
    assert {json.loads(fields[FIELD])["id"] for _, fields in entries} == {report}, "the intake counts it once"
