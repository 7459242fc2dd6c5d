"""HTTP and TCP checks against real servers: answers, slowness, TLS, ports that nobody listens on."""

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.detect.checks import check_kinds
from recovery.detect.probe import probe_all
from recovery.models import Category, FailureType
from tests.probing import NoBeats, probe
from tests.support import free_port


class Shop(BaseHTTPRequestHandler):
    """Answer `/status/<n>`, `/slow/<seconds>`, `/moved`; count connections."""

    connections = 0
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        type(self).connections += 1
        super().setup()

    def do_GET(self) -> None:
        head, _, tail = self.path.strip("/").partition("/")
        if head == "slow":
            time.sleep(float(tail))
        self.send_response(int(tail) if head == "status" else 302 if head == "moved" else 200)
        if head == "moved":
            self.send_header("Location", "/status/500")
        body = b"" if tail == "204" else f"token={self.headers.get('X-Token', '')} stock=7".encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def shop(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def shop_url() -> Iterator[str]:
    with shop() as url:
        yield url


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("/status/200", {}, None),
        ("/moved", {}, None),
        ("/moved", {"follow_redirects": True}, "answered 500, wanted 200-399"),
        ("/status/404", {}, "answered 404, wanted 200-399"),
        ("/status/404", {"status": 404}, None),
        ("/status/206", {"status": ["200-203", 205]}, "answered 206, wanted 200-203, 205"),
        ("/status/204", {}, None),
        ("/", {"body_contains": "stock=7", "body_matches": r"stock=\d+$"}, None),
        ("/", {"body_contains": "stock=8"}, "does not contain 'stock=8'"),
        ("/", {"body_matches": r"stock=\D"}, r"does not match 'stock=\D'"),
        ("/", {"body_contains": "stock", "max_body": 5}, "does not contain 'stock'"),
        ("/", {"headers": {"X-Token": "abc"}, "body_contains": "token=abc"}, None),
        ("/", {"max_latency": 25.0}, None),
    ],
)
def test_http_compares_the_answer_with_what_was_declared(shop_url: str, path: str, options: dict[str, Any], said: str | None) -> None:
    found = probe("http", {"url": shop_url + path, **options})

    assert found.ok is (said is None), found.message
    assert (said or "") in found.message


def test_a_slow_answer_means_slow_responses_and_a_refusal_for_too_many_means_rate_limited(shop_url: str) -> None:
    slow = probe("http", {"url": f"{shop_url}/slow/0.2", "max_latency": 0.1})
    limited = probe("http", {"url": f"{shop_url}/status/429"})

    assert (slow.ok, slow.category) == (False, Category.SLOW_RESPONSES)
    assert (limited.ok, limited.category) == (False, Category.RATE_LIMITED)


def test_a_port_that_nobody_listens_on_fails_at_once() -> None:
    found = probe("http", {"url": f"http://127.0.0.1:{free_port()}/"})

    assert (found.ok, found.type) == (False, FailureType.ERROR)
    assert found.message.endswith(": connection refused")


def test_a_server_that_speaks_something_else_or_hangs_up_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)

        def answer() -> None:
            for said in (b"SSH-2.0-shop\r\n", b"", b""):  # aiohttp asks again once when it is hung up on
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        found = [probe("http", {"url": url}), probe("http", {"url": url})]
        thread.join()

    assert [finding.message for finding in found] == ["the server does not speak valid HTTP", "the server hung up without an answer"]


def test_every_probe_is_a_connection_of_its_own(shop_url: str) -> None:
    Shop.connections = 0
    checks = tuple(
        CheckDeclaration.model_validate({"name": f"c{number}", "type": "http", "options": {"url": shop_url}}) for number in range(5)
    )
    fleet = Fleet(version="1", services={"shop": ServiceDeclaration(name="shop", checks=checks)})
    names = [f"shop.c{number}" for number in range(5)]

    found = asyncio.run(probe_all(check_kinds(), fleet, NoBeats(), names))

    assert all(finding.ok for finding in found.values())
    assert Shop.connections == 5


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 that expires in five days, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    arguments = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "5",
        "-subj",
        "/CN=shop",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    try:
        subprocess.run(
            ["openssl", *arguments, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True, timeout=60
        )
    except FileNotFoundError:
        pytest.skip("the openssl command is not installed")
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ca": True}, None),
        ({"ca": True, "tls_days": 4}, None),
        ({"ca": True, "tls_days": 6}, "expires in 5.0 days"),
        ({}, "certificate verify failed"),
        ({"verify_tls": False}, None),
    ],
)
def test_tls_is_verified_and_its_expiry_foreseen(certificate: tuple[Path, Path], options: dict[str, Any], said: str | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if options.pop("ca", False) or "ca_file" in options:
        options = options | {"ca_file": str(certificate[0])}

    with shop(context) as url:
        found = probe("http", {"url": url, **options})

    assert found.ok is (said is None), found.message
    assert (said or "") in found.message


def test_tcp_passes_on_a_listening_port_and_fails_on_a_closed_one(shop_url: str) -> None:
    port = int(shop_url.rpartition(":")[2])

    assert probe("tcp", {"port": port}).ok
    refused = probe("tcp", {"port": free_port()})
    assert "cannot connect to 127.0.0.1" in refused.message
