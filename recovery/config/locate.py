"""Find the line on which each key of a TOML text is written. The standard parser gives values without places, this gives places."""

import contextlib
import re
import tomllib
from bisect import bisect_right

Where = tuple[str | int, ...]
"""Keys and list positions from the top, such as `("services", "shop", "checks", 0)`."""

BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
BARE = re.compile(r"[A-Za-z0-9_-]+")
BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
LITERAL = re.compile(r"'[^'\n]*'")
LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL)
LONG_LITERAL = re.compile(r"'''.*?'{3,5}", re.DOTALL)
SCALAR = re.compile(r"[^,\]}#\n]+")


class Lines:
    """Answer on which line something is declared.

    Args:
        text: TOML that the standard parser has accepted; for anything else no line is known.
    """

    def __init__(self, text: str = "") -> None:
        scanner = _Scanner(text)
        with contextlib.suppress(IndexError, ValueError):  # not TOML after all: what was found before is still right
            scanner.scan()
        self._found = scanner.found

    def line(self, where: Where) -> int | None:
        """Return the line (from 1) of `where`, or of what encloses it when it is not written itself."""
        for size in range(len(where), 0, -1):
            if where[:size] in self._found:
                return self._found[where[:size]]
        return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Where, int] = {}
        self.lengths: dict[Where, int] = {}
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def scan(self) -> None:
        table: Where = ()
        self.skip(BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(BLANK)

    def header(self) -> Where:
        start = self.at
        is_list = self.text.startswith("[[", start)
        self.at += 2 if is_list else 1
        keys = self.keys()
        self.at += 2 if is_list else 1
        where: Where = ()
        for position, key in enumerate(keys):
            where += (key,)
            self.note(where, start)
            if is_list and position == len(keys) - 1:
                self.lengths[where] = self.lengths.get(where, 0) + 1
            if where in self.lengths:
                where += (self.lengths[where] - 1,)
                self.note(where, start)
        return where

    def pair(self, table: Where) -> None:
        start, where = self.at, table
        for key in self.keys():
            where += (key,)
            self.note(where, start)
        self.at += 1  # the equals sign
        self.value(where)

    def keys(self) -> list[str]:
        keys = []
        while True:
            self.skip(BLANK)
            kind = {'"': BASIC, "'": LITERAL}.get(self.text[self.at], BARE)
            written = self.take(kind)
            keys.append(written if kind is BARE else str(tomllib.loads(f"key = {written}")["key"]))
            self.skip(BLANK)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def value(self, where: Where) -> None:
        self.skip(BLANK)
        match self.text[self.at]:
            case "[":
                self.members(where, "]")
            case "{":
                self.members(where, "}")
            case '"':
                self.take(LONG_BASIC if self.text.startswith('"""', self.at) else BASIC)
            case "'":
                self.take(LONG_LITERAL if self.text.startswith("'''", self.at) else LITERAL)
            case _:
                self.take(SCALAR)

    def members(self, where: Where, end: str) -> None:
        self.at += 1
        position = 0
        while True:
            self.skip(BLANK)
            if self.text[self.at] == end:
                self.at += 1
                return
            if self.text[self.at] == ",":
                self.at += 1
            elif end == "}":
                self.pair(where)
            else:
                self.note((*where, position), self.at)
                self.value((*where, position))
                position += 1

    def note(self, where: Where, at: int) -> None:
        self.found.setdefault(where, bisect_right(self.newlines, at) + 1)

    def skip(self, pattern: re.Pattern[str]) -> None:
        self.take(pattern)

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError
        self.at = match.end()
        return match.group()
