"""The merged log of `up`: lines of many children on one stream, each with its child's name in front.

A terminal that is stopped (Ctrl-S) or a full pipe must not stop the workers, so a thread of its own writes, and lines that
nobody takes for too long are dropped and counted.
"""

import contextlib
import json
import os
import threading
from collections import deque
from typing import TextIO

WAITING_LIMIT = 10_000
"""Lines that wait for a slow reader before the oldest are dropped."""
CLOSE_TIMEOUT = 2.0
"""Seconds that the last lines get at the end."""
COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95")
"""ANSI foregrounds, given to the children in the order of their appearance."""


class Output:
    """Writes whole lines to `stream`, in the background and in order.

    Args:
        stream: where the lines go; colours are used only if it is a terminal and NO_COLOR is not set.
        width: how many characters the names take.
        as_json: the lines are JSON objects; then the name becomes their field `node`.
    """

    def __init__(self, stream: TextIO, *, width: int, as_json: bool = False) -> None:
        self._stream = stream
        self._width = width
        self._as_json = as_json
        self._colours: dict[str, str] | None = {} if stream.isatty() and "NO_COLOR" not in os.environ else None
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write, name="output", daemon=True)
        self._writer.start()

    def say(self, name: str, line: str) -> None:
        """Put out one line of the child `name`; never waits for the reader."""
        framed = _as_json(name, line) if self._as_json else f"{self._prefix(name)} {line}"
        with self._changed:
            if len(self._lines) >= WAITING_LIMIT:
                self._lines.popleft()
                self._dropped += 1
            self._lines.append(framed)
            self._changed.notify()

    def voice(self, name: str) -> "Voice":
        """Return a text stream whose lines come from `name`, for a logging handler."""
        return Voice(self, name)

    def close(self) -> None:
        """Write what is left, as long as somebody takes it."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._writer.join(CLOSE_TIMEOUT)

    def _prefix(self, name: str) -> str:
        plain = f"{name:<{self._width}} |"
        if self._colours is None:
            return plain
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\x1b[{colour}m{plain}\x1b[0m"

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                if not self._lines:
                    return
                lines, dropped = list(self._lines), self._dropped
                self._lines.clear()
                self._dropped = 0
            if dropped:
                lines.insert(0, f"({dropped} lines were dropped here: nobody read them)")
            # a reader that has gone away (`up | head`) is no reason to stop recovering services
            with contextlib.suppress(OSError, ValueError):
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()


class Voice:
    """The part of a text stream that a logging handler needs; each write is a whole line."""

    def __init__(self, output: Output, name: str) -> None:
        self._output = output
        self._name = name

    def write(self, text: str) -> int:
        """Say every line of `text`."""
        for line in text.splitlines():
            self._output.say(self._name, line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: the output writes by itself."""


class Lines:
    """Cuts the bytes of a pipe into lines.

    Args:
        limit: bytes after which a line is cut, so that a child without line ends cannot fill the memory.
    """

    def __init__(self, limit: int = 64_000) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that `data` completes."""
        *whole, rest = (self._rest + data).split(b"\n")
        if len(rest) > self._limit:
            whole, rest = [*whole, rest], b""
        self._rest = rest
        return [text for line in whole if (text := _text(line))]

    def end(self) -> list[str]:
        """Return the last line if it had no end."""
        rest, self._rest = self._rest, b""
        return [text] if (text := _text(rest)) else []


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip()


def _as_json(name: str, line: str) -> str:
    if line.startswith("{") and line.endswith("}"):
        return f'{{"node": {json.dumps(name)}, {line[1:]}'
    return json.dumps({"node": name, "level": "INFO", "event": line}, ensure_ascii=False)
