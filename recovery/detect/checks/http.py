"""Check `http`: does a URL answer as it should, and soon enough?

Every probe is a fresh connection: a kept one would hide that the server accepts no new ones.
"""

import asyncio
import os
import re
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import AfterValidator, Field, model_validator

from recovery.config.base import Declaration, Seconds
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.processes import Pattern
from recovery.detect.shared import borrow
from recovery.models import Category, FailureType, utcnow
from recovery.ports import CheckKind, Clock, Finding, Heartbeats

DAY = 86_400.0


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be an address like http://127.0.0.1:8080/health")
    return text


def _status(value: int | str) -> int | str:
    low, high = _bounds(value)
    if not 100 <= low <= high <= 599:
        raise ValueError(f"'{value}' is not a status between 100 and 599 or a range of them like 200-399")
    return value


def _bounds(value: int | str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{3})(?:-(\d{3}))?", str(value))
    return (int(match[1]), int(match[2] or match[1])) if match else (0, 0)


StatusRange = Annotated[int | str, AfterValidator(_status)]
"""One status (`200`) or a range (`"200-299"`)."""


class HttpOptions(Declaration):
    """`type = "http"`."""

    url: Annotated[str, AfterValidator(_web_address)]
    method: Literal["GET", "HEAD", "POST", "PUT", "OPTIONS"] = "GET"
    headers: dict[str, str] = Field(default_factory=dict)
    status: StatusRange | tuple[StatusRange, ...] = "200-399"
    """Accepted answers: a status, a range, or a list of these. A redirect that is not followed counts as its own status."""
    body_contains: str | None = None
    body_matches: Pattern | None = None
    max_body: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = 1024 * 1024
    """Bytes of the body that are read and searched, up to 64 MiB. Default 1 MiB."""
    max_latency: Seconds | None = None
    """Seconds until the answer is complete; slower is a failure of category `slow_responses`."""
    follow_redirects: bool = False
    verify_tls: bool = True
    ca_file: Path | None = None
    """Trust the authorities in this PEM file instead of the system's."""
    tls_days: Annotated[float, Field(gt=0, le=3_650)] | None = None
    """Fail when the certificate expires within this many days."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.method == "HEAD" and (self.body_contains is not None or self.body_matches):
            raise ValueError('an answer to HEAD has no body: use method = "GET" with body_contains and body_matches')
        if self.tls_days and not (self.verify_tls and self.url.startswith("https:")):
            raise ValueError("tls_days needs an https:// url and verify_tls = true")
        return self

    def accepts(self, status: int) -> bool:
        """Say whether this status is a healthy answer."""
        ranges = self.status if isinstance(self.status, tuple) else (self.status,)
        return any(low <= status <= high for low, high in map(_bounds, ranges))


def new_session() -> aiohttp.ClientSession:
    """Return a session that keeps neither connections nor cookies and leaves timeouts to the caller."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers={"User-Agent": "celery-recovery"},
    )


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Send one request and compare the answer with what was declared."""

    options: HttpOptions
    clock: Clock = utcnow

    async def probe(self) -> Finding:
        """Ask once."""
        options, began = self.options, time.perf_counter()
        trust = _trust(options)
        try:
            async with (
                borrow(new_session) as session,
                session.request(
                    options.method, options.url, headers=options.headers, allow_redirects=options.follow_redirects, ssl=trust
                ) as response,
            ):
                body = await _body(response, options.max_body)
        except aiohttp.ClientError as error:
            return Finding(ok=False, message=_reason(error), type=FailureType.ERROR)
        latency = time.perf_counter() - began
        finding = judge_answer(options, response.status, body, latency)
        if finding.ok and options.tls_days and isinstance(trust, ssl.SSLContext):
            return await self._certificate(options.tls_days, trust) or finding
        return finding

    async def _certificate(self, days: float, trust: ssl.SSLContext) -> Finding | None:
        """Return a failure if the certificate expires within `days`. Needs a handshake of its own: aiohttp does not keep it."""
        parts = urlsplit(self.options.url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=trust)
        try:
            certificate = writer.get_extra_info("peercert")
        finally:
            writer.transport.abort()
        left = (ssl.cert_time_to_seconds(certificate["notAfter"]) - self.clock().timestamp()) / DAY
        if left >= days:
            return None
        message = f"the TLS certificate expires in {left:.1f} days ({certificate['notAfter']}), wanted at least {days:g}"
        return Finding(
            ok=False, message=message, category=Category.UNKNOWN, type=FailureType.ANOMALY, details={"days_left": round(left, 2)}
        )


def judge_answer(options: HttpOptions, status: int, body: bytes, latency: float) -> Finding:
    """Return the verdict on one answer. 429 means `rate_limited`: a restart would make that worse."""
    if not options.accepts(status):
        category = Category.RATE_LIMITED if status == 429 else None
        return Finding(ok=False, message=f"answered {status}, wanted {_wanted(options)}", category=category, details={"status": status})
    text = body.decode(errors="replace")
    if options.body_contains is not None and options.body_contains not in text:
        return Finding(ok=False, message=f"the answer does not contain '{options.body_contains}'", details={"status": status})
    if options.body_matches and not re.search(options.body_matches, text):
        return Finding(ok=False, message=f"the answer does not match '{options.body_matches}'", details={"status": status})
    if options.max_latency is not None and latency > options.max_latency:
        message = f"answered after {latency:.3f} s, wanted at most {options.max_latency:g} s"
        return Finding(ok=False, message=message, category=Category.SLOW_RESPONSES, type=FailureType.ANOMALY, details={"status": status})
    return Finding(ok=True, details={"status": status})


def _wanted(options: HttpOptions) -> str:
    ranges = options.status if isinstance(options.status, tuple) else (options.status,)
    return ", ".join(str(value) for value in ranges)


def _trust(options: HttpOptions) -> ssl.SSLContext | bool:
    """Return what aiohttp takes as `ssl`: a context only where it differs from the default, for that costs milliseconds."""
    if not options.verify_tls:
        return False
    if options.url.startswith("https:") and (options.ca_file or options.tls_days):
        return ssl.create_default_context(cafile=str(options.ca_file) if options.ca_file else None)
    return True


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return at most `limit` bytes. Reads also where nobody looks at them: a server may die in the middle of its answer."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size >= limit:
            break
    return b"".join(chunks)[:limit]


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {error.host} does not resolve"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError) and error.errno:
        return f"cannot connect to {error.host}:{error.port}: {os.strerror(error.errno).lower()}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server hung up without an answer"
    if isinstance(error, aiohttp.TooManyRedirects):
        return "the server sends us in circles"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the server does not speak valid HTTP"  # what it said instead may be anything
    return str(error) or type(error).__name__


def build(_service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> HttpCheck:
    """Return the declared check."""
    return HttpCheck(HttpOptions.model_validate(check.options))


HTTP = CheckKind("http", HttpOptions, build)
