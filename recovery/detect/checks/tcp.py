"""Check `tcp`: does a port accept a connection and, if asked for, say what it should?

The kernel accepts for a program that is stopped or hung. Only `expect` finds that, where the protocol allows it.
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from recovery.config.base import Declaration
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.models import FailureType
from recovery.ports import CheckKind, Finding, Heartbeats

MOST_READ = 64 * 1024
"""Bytes within which the expected text must come."""


class TcpOptions(Declaration):
    """`type = "tcp"`."""

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)]
    send: str | None = None
    """Text to send after connecting."""
    expect: Annotated[str, Field(min_length=1)] | None = None
    """Text that must come back (within the first 64 KiB)."""


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Connect, speak if asked to, hang up."""

    options: TcpOptions

    async def probe(self) -> Finding:
        """Connect once."""
        where = f"{self.options.host}:{self.options.port}"
        try:
            reader, writer = await asyncio.open_connection(self.options.host, self.options.port)
        except OSError as error:
            return Finding(ok=False, message=f"cannot connect to {where}: {error.strerror or error}", type=FailureType.ERROR)
        try:
            if self.options.send:
                writer.write(self.options.send.encode())
                await writer.drain()
            if self.options.expect and not await _comes(reader, self.options.expect.encode()):
                return Finding(ok=False, message=f"{where} did not say '{self.options.expect}'")
        except ConnectionError as error:
            return Finding(ok=False, message=f"{where} broke the connection: {error.strerror or error}", type=FailureType.ERROR)
        finally:
            writer.transport.abort()  # at once, so that the port of this side is free again for the next of many probes
        return Finding(ok=True)


async def _comes(reader: asyncio.StreamReader, wanted: bytes) -> bool:
    heard = b""
    while wanted not in heard:
        chunk = await reader.read(4096)
        heard += chunk
        if not chunk or len(heard) > MOST_READ:
            return False
    return True


def build(_service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> TcpCheck:
    """Return the declared check."""
    return TcpCheck(TcpOptions.model_validate(check.options))


TCP = CheckKind("tcp", TcpOptions, build)
