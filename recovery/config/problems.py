"""What is wrong with a configuration, said in one line each: where it is written, its path, and what to do about it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from recovery.config.locate import Lines, Where
from recovery.errors import ConfigurationError

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def path_of(where: Where) -> str:
    """Return a place as one reads it in TOML, such as `services.shop.checks[0].url`."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        key = part if BARE_KEY.fullmatch(part) else '"' + part.encode("unicode_escape").decode().replace('"', '\\"') + '"'
        text += f".{key}" if text else key
    return text


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong (or, among warnings, odd)."""

    where: Where
    """Keys and list positions from the top of the file; empty for the file as a whole."""
    message: str
    line: int | None = None
    """From 1; None when no line can be named."""

    def text(self, file: str) -> str:
        """Return the line to print: file, line, path and message."""
        place = f"{file}:{self.line}" if self.line else file
        path = path_of(self.where)
        return f"{place}: {path}: {self.message}" if path else f"{place}: {self.message}"


class Report:
    """Collect all problems of one file, so that they are told at once and not one by one.

    Args:
        file: how the file is called in the messages.
        lines: finds the line on which something is declared.
    """

    def __init__(self, file: str, lines: Lines) -> None:
        self.file = file
        self.lines = lines
        self.errors: dict[Where, Problem] = {}
        self.warnings: list[Problem] = []

    def error(self, where: Where, message: str) -> None:
        """Note something that makes the file invalid; what is said later about the same place only follows from it."""
        self.errors.setdefault(where, Problem(where, message, self.lines.line(where)))

    def warn(self, where: Where, message: str) -> None:
        """Note something that is probably not meant."""
        self.warnings.append(Problem(where, message, self.lines.line(where)))

    def raise_errors(self) -> None:
        """Raise `ConfigurationError` with every error, in the order of their lines, if there is any."""
        if self.errors:
            refuse(self.file, sorted(self.errors.values(), key=lambda problem: problem.line or 0))

    def warning_lines(self) -> tuple[str, ...]:
        """Return the warnings, one line each, in the order of their lines."""
        ordered = sorted(dict.fromkeys(self.warnings), key=lambda problem: problem.line or 0)
        return tuple(problem.text(self.file) for problem in ordered)


def refuse(file: str, problems: Sequence[Problem]) -> NoReturn:
    """Raise `ConfigurationError` that carries one line per problem."""
    lines = tuple(problem.text(file) for problem in problems)
    message = lines[0] if len(lines) == 1 else "\n".join((f"{file} has {len(lines)} problems:", *(f"  {line}" for line in lines)))
    raise ConfigurationError(message, problems=lines)
