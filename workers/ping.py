"""Asks one URL, with short patience, and says what went wrong without telling the URL: its path may be a secret."""

import asyncio
import os
from urllib.parse import urlsplit

import aiohttp

TIMEOUT = 5.0
"""Seconds for the whole exchange, however slowly the listener answers."""


def ask(url: str) -> str | None:
    """Ask `url` with GET; return None if the answer is a 2xx, else in a few words what went wrong."""
    return asyncio.run(_ask(url))


async def _ask(url: str) -> str | None:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session, session.get(url) as answer:
            return None if 200 <= answer.status < 300 else f"it answered {answer.status}"
    except TimeoutError:
        return f"no answer within {TIMEOUT:g} s"
    except aiohttp.ClientConnectorError as error:
        return f"cannot connect: {_plainly(error.os_error)}"
    except (aiohttp.ClientError, ValueError) as error:  # ValueError: a URL that is none
        return type(error).__name__


def _plainly(error: OSError) -> str:
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or type(error).__name__  # a name that is not known has numbers of its own


def place(url: str) -> str:
    """Return what may be shown of `url`: scheme, host and port."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "ping_url"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"
