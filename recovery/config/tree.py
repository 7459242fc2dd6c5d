"""Turn the text of `recovery.toml` into plain data, or say on which line it stops being TOML."""

import math
import re
import tomllib
from datetime import date, time
from typing import Any, cast

from pydantic import JsonValue

from recovery.config.locate import Where
from recovery.config.problems import Problem, Report, path_of, refuse
from recovery.models import JsonObject

LARGEST_FILE = 8_000_000
"""Characters; more than any fleet needs, less than what would stall a worker."""
DEEPEST = 32
"""Levels of tables and lists in each other."""
LARGEST_NUMBER = 2**63 - 1


def read_toml(text: str, file: str) -> dict[str, Any]:
    """Return the tables of `text`; raises `ConfigurationError` with line and column where it is not TOML."""
    if len(text) > LARGEST_FILE:
        refuse(file, [Problem((), f"is {len(text):,} characters long, the limit is {LARGEST_FILE:,}")])
    try:
        text.encode()
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        refuse(file, [_syntax_problem(str(error), text)])
    except UnicodeEncodeError:
        refuse(file, [Problem((), "is not valid UTF-8 text")])
    except (ValueError, RecursionError):
        refuse(file, [Problem((), "a number in it is too long, or its lists and tables are too deep")])


def plain(tree: dict[str, Any], report: Report) -> JsonObject:
    """Return `tree` without what a declaration never holds (dates, `inf`, `nan`, huge integers), each reported as an error."""
    result: JsonObject = {}
    for key, value in tree.items():
        result[key] = _plain(value, (key,), report)
    return result


def _plain(value: Any, where: Where, report: Report) -> JsonValue:
    if len(where) > DEEPEST:
        report.error(where[:DEEPEST], f"is nested more than {DEEPEST} levels deep")
        return None
    if isinstance(value, dict):
        return {key: _plain(item, (*where, key), report) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, (*where, position), report) for position, item in enumerate(value)]
    if isinstance(value, date | time):
        report.error(where, "must not be a date or time: put it in quotes")
    elif not isinstance(value, str) and not (math.isfinite(value) and abs(value) <= LARGEST_NUMBER):
        report.error(where, "must be a finite number of at most 64 bits")
    else:
        return cast("JsonValue", value)
    return None


def _syntax_problem(message: str, text: str) -> Problem:
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    said = message[: place.start()] if place else message
    line, column = (int(place[1]), int(place[2])) if place and place[1] else (text.count("\n") + 1, 0)
    if twice := re.match(r"Cannot declare \((.*)\) twice", said):
        name = path_of(tuple(re.findall(r"'([^']*)'", twice[1])))
        said = f"the table [{name}] is declared twice"
    elif said == "Cannot overwrite a value":
        said = "a key is set twice"
    else:
        said = said[:1].lower() + said[1:]
    at = f" (column {column})" if column else " (at the end of the file)"
    return Problem((), f"not valid TOML: {said}{at}", line)
