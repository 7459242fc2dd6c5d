"""Checks against the real thing: processes that are killed, frozen and left as zombies, servers that die, files that rot."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.detect.checks import check_kinds
from recovery.detect.probe import FleetProbe, probe_all
from recovery.detect.sweep import Sweeper, Swept
from recovery.integrity import seal
from recovery.models import Category, FailureType
from recovery.ports import Finding
from recovery.store.memory import MemoryStore
from tests.support import ValkeyServer, eventually, free_port, freeze, is_dead


class NoBeats:
    def last(self, service: str) -> datetime | None:
        return None


def fleet_of(kind: str, options: dict[str, Any], seconds: float = 30.0) -> Fleet:
    check = CheckDeclaration.model_validate(
        {"name": "main", "type": kind, "timeout": seconds, "interval": 1, "fall": 1, "options": options}
    )
    return Fleet(version="1", services={"shop": ServiceDeclaration(name="shop", checks=(check,))})


def probe(kind: str, options: dict[str, Any], seconds: float = 30.0) -> Finding:
    fleet = fleet_of(kind, options, seconds)
    return FleetProbe(check_kinds(), lambda: fleet, NoBeats())(["shop.main"])["shop.main"]


# --- http ---


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


# --- tcp ---


def test_tcp_passes_on_a_listening_port_and_fails_on_a_closed_one(shop_url: str) -> None:
    port = int(shop_url.rpartition(":")[2])

    assert probe("tcp", {"port": port}).ok
    refused = probe("tcp", {"port": free_port()})
    assert "cannot connect to 127.0.0.1" in refused.message


# --- redis and cache ---


@pytest.fixture
def own_valkey(short_dir: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(short_dir)
    server.start()
    yield server
    server.kill()


def test_redis_passes_when_it_answers_fails_when_frozen_and_when_gone(own_valkey: ValkeyServer) -> None:
    options = {"url": own_valkey.url}
    assert probe("redis", options).ok

    own_valkey.signal(signal.SIGSTOP)
    frozen = probe("redis", options, seconds=0.3)
    own_valkey.signal(signal.SIGCONT)
    own_valkey.kill()
    gone = probe("redis", options)

    assert (frozen.ok, frozen.type) == (False, FailureType.TIMEOUT)
    assert (gone.ok, gone.type) == (False, FailureType.ERROR)


def test_redis_minds_its_role_and_its_memory(own_valkey: ValkeyServer) -> None:
    client = redis.Redis.from_url(own_valkey.url)
    client.config_set("maxmemory", "100mb")
    client.close()

    assert probe("redis", {"url": own_valkey.url, "role": "master", "max_memory_percent": 90, "max_memory": "100MiB"}).ok
    wrong = probe("redis", {"url": own_valkey.url, "role": "replica"})
    full = probe("redis", {"url": own_valkey.url, "max_memory_percent": 0.01})
    large = probe("redis", {"url": own_valkey.url, "max_memory": "1KiB"})

    assert wrong.message == "is a master, wanted a replica"
    assert (full.category, large.category) == (Category.MEMORY_PRESSURE, Category.MEMORY_PRESSURE)
    assert "of its maxmemory" in full.message
    assert "wanted at most 1.0KiB" in large.message


def test_a_cache_that_is_frozen_or_gone_is_not_called_corrupt(own_valkey: ValkeyServer) -> None:
    kind = check_kinds()["cache"]

    own_valkey.signal(signal.SIGSTOP)
    frozen = probe("cache", {"url": own_valkey.url}, seconds=0.3)
    own_valkey.signal(signal.SIGCONT)
    own_valkey.kill()
    gone = probe("cache", {"url": own_valkey.url})

    assert [(finding.ok, finding.category or kind.category) for finding in (frozen, gone)] == [(False, Category.CACHE)] * 2


def test_cache_names_exactly_the_corrupted_keys(redis_client: redis.Redis, valkey_url: str) -> None:
    redis_client.mset({f"item:{number}": seal(f"tea {number}".encode()) for number in range(2_000)})
    redis_client.set("other", b"not ours")
    redis_client.set("item:7", b"scribble")
    redis_client.set("item:8", seal(b"tea")[:-1])
    redis_client.delete("item:9")
    redis_client.rpush("item:9", b"a", b"b")
    redis_client.set(b"item:\xff", b"scribble")

    found = probe("cache", {"url": valkey_url, "match": "item:*", "required": ["item:1", "item:gone"]})

    assert (found.ok, found.category) == (False, Category.CACHE_CORRUPTION)
    assert found.details["corrupted"] == ["item:7", "item:8", "item:9", r"item:\xff"]
    assert found.details["corrupted_count"] == 4
    assert found.details["missing"] == ["item:gone"]
    assert found.message.startswith("4 of 2001 entries are corrupted ('item:7' has no checksum)")


def test_cache_lists_at_most_a_thousand_keys_but_counts_all(redis_client: redis.Redis, valkey_url: str) -> None:
    redis_client.mset({f"item:{number}": b"scribble" for number in range(1_500)})

    found = probe("cache", {"url": valkey_url})

    assert isinstance(found.details["corrupted"], list)
    assert (len(found.details["corrupted"]), found.details["corrupted_count"]) == (1_000, 1_500)


def test_cache_stops_at_max_keys_and_says_so(redis_client: redis.Redis, valkey_url: str) -> None:
    redis_client.mset({f"item:{number}": seal(b"tea") for number in range(50)})

    some = probe("cache", {"url": valkey_url, "max_keys": 20})
    all_of_them = probe("cache", {"url": valkey_url, "max_keys": 50})

    assert some.details == {"checked": 20, "partial": True}
    assert all_of_them.details == {"checked": 50, "partial": False}


def test_cache_understands_json_entries(redis_client: redis.Redis, valkey_url: str) -> None:
    redis_client.set("good", json.dumps({"price": 1}))
    redis_client.set("poor", json.dumps({"cost": 1}))

    found = probe("cache", {"url": valkey_url, "rule": {"format": "json", "required_keys": ["price"]}})

    assert found.details["corrupted"] == ["poor"]
    assert "lacks 'price'" in found.message


# --- sql ---


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "shop data?.db"
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE items (name TEXT, price INT)")
    database.executemany("INSERT INTO items VALUES (?, ?)", [(f"tea {number}" * 20, number) for number in range(2_000)])
    database.execute("CREATE INDEX by_price ON items (price)")
    database.commit()
    database.close()
    return file


def test_an_sqlite_file_that_is_intact_passes_and_is_not_touched(data: Path) -> None:
    before = (data.read_bytes(), data.stat().st_mtime_ns, sorted(data.parent.iterdir()))

    found = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items", "expect": 2_000, "integrity": "full"})

    assert found.ok, found.message
    assert (data.read_bytes(), data.stat().st_mtime_ns, sorted(data.parent.iterdir())) == before


@pytest.mark.parametrize("integrity", [True, "quick", "full"])
def test_a_scribbled_page_is_found_by_integrity_even_where_the_query_passes(data: Path, integrity: bool | str) -> None:
    with data.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(os.urandom(4096))

    blind = probe("sql", {"file": str(data), "query": "SELECT 1"})
    found = probe("sql", {"file": str(data), "query": "SELECT 1", "integrity": integrity})

    assert blind.ok
    assert (found.ok, found.category) == (False, Category.DATA_INCONSISTENCY)
    assert "corrupt" in found.message


@pytest.mark.parametrize("integrity", [True, False])
def test_a_file_that_is_no_database_any_more_is_inconsistent_data(data: Path, integrity: bool) -> None:
    data.write_bytes(os.urandom(100_000))

    found = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items", "integrity": integrity})

    assert (found.ok, found.category) == (False, Category.DATA_INCONSISTENCY)


def test_a_missing_file_is_found_and_not_created(data: Path) -> None:
    data.unlink()

    plain = probe("sql", {"file": str(data)})
    guarded = probe("sql", {"file": str(data), "integrity": True})

    assert (plain.ok, plain.category, guarded.category) == (False, Category.DATABASE, Category.DATA_INCONSISTENCY)
    assert not data.exists()


def test_an_emptied_file_does_not_pass_for_a_sound_empty_database(data: Path) -> None:
    data.write_bytes(b"")

    found = probe("sql", {"file": str(data), "integrity": True})

    assert (found.ok, found.category) == (False, Category.DATA_INCONSISTENCY)
    assert found.message.endswith("is empty")


def test_another_answer_than_expected_is_inconsistent_data_and_an_sql_error_is_not(data: Path) -> None:
    kind = check_kinds()["sql"]

    wrong = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items", "expect": 1})
    error = probe("sql", {"file": str(data), "query": "SELECT * FROM absent"})
    write = probe("sql", {"file": str(data), "query": "DELETE FROM items"})

    assert (wrong.category, wrong.message) == (Category.DATA_INCONSISTENCY, "the query returned '2000', wanted '1'")
    assert (error.category or kind.category, error.message) == (Category.DATABASE, "no such table: absent")
    assert "readonly" in write.message


def test_an_sqlite_url_with_an_absolute_path_is_the_same_as_file(data: Path) -> None:
    plain = data.rename(data.with_name("plain.db"))
    plain.write_bytes(os.urandom(10_000))

    found = probe("sql", {"url": f"sqlite:///{plain}", "query": "SELECT count(*) FROM items", "integrity": True})

    assert (found.ok, found.category) == (False, Category.DATA_INCONSISTENCY)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give either url or file"),
        ({"url": "sqlite:///shop.db"}, 'write file = "shop.db"'),
        ({"url": "sqlite://"}, "must name a file"),
        ({"url": "nonsense"}, "is not an SQLAlchemy URL"),
        ({"url": "nosuchdb://host/x"}, "is not an SQLAlchemy URL of a known database"),
        ({"url": "postgresql://host/shop", "integrity": True}, "integrity is for SQLite"),
    ],
)
def test_sql_options_that_make_no_sense_are_refused_in_words(options: dict[str, Any], said: str) -> None:
    assert said in probe("sql", options).message


def test_a_database_in_wal_mode_with_an_open_writer_passes(data: Path) -> None:
    database = sqlite3.connect(data)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("INSERT INTO items VALUES ('new', 1)")
    database.commit()

    found = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items", "expect": 2_001, "integrity": True})

    database.close()
    assert found.ok, found.message


def test_a_locked_database_fails_within_the_timeout(data: Path) -> None:
    database = sqlite3.connect(data)
    database.execute("BEGIN EXCLUSIVE")

    began = time.monotonic()
    found = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items"}, seconds=0.3)

    database.close()
    assert not found.ok
    assert time.monotonic() - began < 10


# --- process ---


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", f"marker={tmp_path}"])
    (tmp_path / "it.pid").write_text(str(process.pid))
    yield process
    process.kill()
    process.wait()


def state_of(process: subprocess.Popen[bytes]) -> str:
    return psutil.Process(process.pid).status()


def test_process_tells_running_stopped_resumed_and_dead_apart(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    options = {"pidfile": str(tmp_path / "it.pid")}
    assert probe("process", options).details["pids"] == [sleeper.pid]

    freeze(sleeper.pid)
    assert probe("process", options).message == f"process {sleeper.pid} is stopped (as by SIGSTOP)"

    sleeper.send_signal(signal.SIGCONT)
    eventually(lambda: state_of(sleeper) != psutil.STATUS_STOPPED)
    assert probe("process", options).ok

    sleeper.kill()
    eventually(lambda: state_of(sleeper) == psutil.STATUS_ZOMBIE)
    assert probe("process", options).message == f"process {sleeper.pid} is a zombie"

    sleeper.wait()
    assert "is gone" in probe("process", options).message


def test_a_pidfile_older_than_the_process_it_names_is_stale(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pidfile = tmp_path / "it.pid"
    os.utime(pidfile, (time.time() - 3_600, time.time() - 3_600))

    found = probe("process", {"pidfile": str(pidfile)})

    assert not found.ok
    assert "its id was given to another program" in found.message


@pytest.mark.parametrize("text", ["", "shop", "-1", "0", "12ab"])
def test_a_pidfile_without_a_pid_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "it.pid").write_text(text)

    assert "does not begin with a process id" in probe("process", {"pidfile": str(tmp_path / "it.pid")}).message


def test_a_missing_pidfile_or_an_impossible_pid_means_not_running(tmp_path: Path) -> None:
    (tmp_path / "it.pid").write_text("9999999999")

    assert "is gone" in probe("process", {"pidfile": str(tmp_path / "it.pid")}).message
    assert "there is no pidfile" in probe("process", {"pidfile": str(tmp_path / "absent.pid")}).message


def test_process_finds_by_command_line_and_counts(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    options = {"match": f"marker={tmp_path}$"}

    assert probe("process", options).details["pids"] == [sleeper.pid]
    assert probe("process", options | {"min_count": 2}).message == "1 processes match, wanted at least 2"
    assert probe("process", {"match": "no such program anywhere$"}).message.startswith("no process matches")


def test_memory_counts_children_too(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(600)"
    child = "x = bytearray(80_000_000); print(flush=True); import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script, child], stdout=subprocess.PIPE, start_new_session=True) as parent:
        try:
            assert parent.stdout is not None
            parent.stdout.readline()
            (tmp_path / "it.pid").write_text(str(parent.pid))
            options = {"pidfile": str(tmp_path / "it.pid"), "max_bytes": "60MiB"}

            family, alone = probe("memory", options), probe("memory", options | {"children": False})
        finally:
            os.killpg(parent.pid, signal.SIGKILL)

    assert (family.ok, family.category) == (False, Category.MEMORY_PRESSURE)
    assert alone.ok, alone.message


@pytest.mark.parametrize("kind", ["memory", "cpu"])
def test_a_process_that_is_gone_is_unavailable_not_under_pressure(kind: str, tmp_path: Path) -> None:
    found = probe(kind, {"pidfile": str(tmp_path / "absent.pid")})

    assert (found.ok, found.category) == (False, Category.SERVICE_UNAVAILABLE)


def test_the_host_can_be_measured() -> None:
    memory = probe("memory", {"max_percent": 0.001})
    disk = probe("disk", {"path": "/", "max_percent": 100})
    cpu = probe("cpu", {"max_percent": 100, "window": 0.1})

    assert (memory.ok, memory.category) == (False, Category.MEMORY_PRESSURE)
    assert disk.ok, disk.message
    assert cpu.ok, cpu.message
    assert isinstance(cpu.details["percent"], float)
    assert 0 <= cpu.details["percent"] <= 100


# --- command ---


def python(code: str) -> dict[str, Any]:
    return {"command": [sys.executable, "-c", code]}


@pytest.mark.parametrize(
    ("code", "options", "ok", "message"),
    [
        ("print('OK - fine | a=1')", {}, True, "OK - fine"),
        ("print('low'); raise SystemExit(1)", {}, True, "warning: low"),
        ("print('low'); raise SystemExit(1)", {"warning_fails": True}, False, "warning: low"),
        ("print('bad'); raise SystemExit(2)", {}, False, "critical: bad"),
        ("raise SystemExit(3)", {}, False, "unknown"),
        ("raise SystemExit(77)", {}, False, "exit code 77"),
        ("import os; os.kill(os.getpid(), 9)", {}, False, "ended by signal 9"),
        ("import sys; sys.stderr.write('from stderr')", {}, True, "from stderr"),
        ("import os; print(os.environ['TEA'])", {"env": {"TEA": "green"}}, True, "green"),
        ("print('x' * 3_000_000, flush=True); raise SystemExit(2)", {}, False, "critical: " + "x" * (8 * 1024)),
    ],
)
def test_command_reads_exit_codes_as_nagios_plugins_mean_them(code: str, options: dict[str, Any], ok: bool, message: str) -> None:
    found = probe("command", python(code) | options, seconds=60)

    assert (found.ok, found.message) == (ok, message)


def test_command_runs_in_its_folder(tmp_path: Path) -> None:
    assert probe("command", python("import os; print(os.getcwd())") | {"cwd": str(tmp_path)}).message == str(tmp_path)


def test_a_program_that_does_not_exist_is_told() -> None:
    found = probe("command", {"command": ["no-such-program"]})

    assert (found.ok, found.type) == (False, FailureType.ERROR)
    assert "no-such-program" in found.message


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "sleep 600 & echo $! > child.pid; trap '' TERM; wait; sleep 600"
    found = probe("command", {"command": ["/bin/sh", "-c", script], "cwd": str(tmp_path)}, seconds=2)

    child = int((tmp_path / "child.pid").read_text())
    assert (found.ok, found.type) == (False, FailureType.TIMEOUT)
    eventually(lambda: is_dead(child))


def test_a_child_that_a_command_left_behind_holds_nothing_up_and_goes(tmp_path: Path) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"

    began = time.monotonic()
    found = probe("command", python(code), seconds=60)

    assert found.ok
    assert time.monotonic() - began < 45
    child = int(found.message)
    eventually(lambda: is_dead(child))


# --- python ---

RELEASE = threading.Event()
CALLS: list[str] = []


def answers(what: object) -> object:
    return what


def raises() -> None:
    raise LookupError("no stock")


async def waits_forever() -> bool:
    await asyncio.Event().wait()
    return True


async def blocks_its_loop() -> bool:
    CALLS.append("blocks_its_loop")
    RELEASE.wait(30)
    return True


def finds() -> Finding:
    return Finding(ok=False, message="2 orders without items", category=Category.DATA_INCONSISTENCY)


@pytest.mark.parametrize(
    ("name", "arguments", "ok", "message"),
    [
        ("answers", {"what": True}, True, ""),
        ("answers", {"what": None}, True, ""),
        ("answers", {"what": ""}, True, ""),
        ("answers", {"what": "queue is stuck"}, False, "queue is stuck"),
        ("answers", {"what": False}, False, f"{__name__}.answers returned False"),
        ("answers", {"what": 3}, False, f"{__name__}.answers returned int; it must return a bool, a text (what is wrong) or a Finding"),
        ("raises", {}, False, "no stock"),
        ("finds", {}, False, "2 orders without items"),
        ("answers", {"wat": 1}, False, "answers() got an unexpected keyword argument 'wat'"),
    ],
)
def test_python_takes_what_the_function_returns(name: str, arguments: dict[str, Any], ok: bool, message: str) -> None:
    found = probe("python", {"function": f"{__name__}.{name}", "arguments": arguments})

    assert (found.ok, found.message) == (ok, message)


@pytest.mark.parametrize("function", ["no.such.module", "os.path.no_such_function", "os.sep"])
def test_a_function_that_cannot_be_loaded_does_not_blame_the_service(function: str) -> None:
    found = probe("python", {"function": function})

    assert (found.ok, found.category) == (False, Category.UNKNOWN)
    assert found.message.startswith(f"cannot load {function}")


def test_an_async_function_that_waits_too_long_is_cancelled() -> None:
    found = [probe("python", {"function": f"{__name__}.waits_forever"}, seconds=0.2) for _ in range(2)]

    assert [(finding.ok, finding.type) for finding in found] == [(False, FailureType.TIMEOUT)] * 2


def test_a_function_that_hangs_is_called_once_and_fails_until_it_returns() -> None:
    options = {"function": f"{__name__}.blocks_its_loop"}
    CALLS.clear()
    RELEASE.clear()

    found = [probe("python", options, seconds=0.2) for _ in range(3)]
    RELEASE.set()

    assert [finding.ok for finding in found] == [False] * 3
    assert "an earlier call has been running" in found[-1].message
    assert CALLS == ["blocks_its_loop"]
    assert eventually(lambda: probe("python", options, seconds=0.2).ok)


# --- all together ---


def next_sweep(sweeper: Sweeper, fleet: Fleet) -> Swept:
    """Sweep as soon as the claim of the sweep before allows it."""

    def claimed() -> Swept | None:
        swept = sweeper.run(fleet, 1)
        return swept if swept.claimed else None

    swept = eventually(claimed)
    assert swept is not None
    return swept


def test_a_sweep_sees_a_killed_server_at_the_next_look(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    fleet = fleet_of("http", {"url": f"http://127.0.0.1:{port}/"}, seconds=10.0)
    sweeper = Sweeper(MemoryStore(), check_kinds(), NoBeats())
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: sweeper.run(fleet, 1).healthy == {"shop"}, within=60)
        finally:
            server.kill()
            server.wait()

        swept = next_sweep(sweeper, fleet)

    assert [failure.category for failure in swept.unhealthy] == [Category.SERVICE_UNAVAILABLE]


def test_a_sweep_sees_a_frozen_server_within_the_timeout(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    fleet = fleet_of("http", {"url": f"http://127.0.0.1:{port}/"}, seconds=0.5)
    sweeper = Sweeper(MemoryStore(), check_kinds(), NoBeats())
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: sweeper.run(fleet, 1).healthy == {"shop"}, within=60)
            freeze(server.pid)

            swept = next_sweep(sweeper, fleet)
        finally:
            server.kill()

    (failure,) = swept.unhealthy
    assert (failure.type, failure.message) == (FailureType.TIMEOUT, "main: no answer within 0.5 s")
