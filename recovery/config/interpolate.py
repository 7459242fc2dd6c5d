"""Fill `${NAME}` and `${NAME:-default}` into the text values of a configuration, so that secrets can stay out of the file."""

import re
from collections.abc import Mapping

from pydantic import JsonValue

from recovery.config.locate import Where
from recovery.config.problems import Report
from recovery.errors import nearest

REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}|(?P<bad>\$\{[^}]*\}?)")


def interpolate(value: JsonValue, environ: Mapping[str, str], where: Where, report: Report) -> JsonValue:
    """Return `value` with every reference replaced; `$${` stands for a literal `${`.

    A default is used when the variable is unset or empty, as in a shell. A variable that is unset and has no default,
    and anything else that begins with `${`, is reported as an error.
    """
    if isinstance(value, str):
        return REFERENCE.sub(lambda match: _replacement(match, environ, where, report), value)
    if isinstance(value, list):
        return [interpolate(item, environ, (*where, position), report) for position, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: interpolate(item, environ, (*where, key), report) for key, item in value.items()}
    return value


def _replacement(match: re.Match[str], environ: Mapping[str, str], where: Where, report: Report) -> str:
    if match["bad"]:
        report.error(where, f"{match['bad'][:40]!r} is no reference: write ${{NAME}}, ${{NAME:-default}}, or $${{ for a literal ${{")
        return ""
    name, default = match["name"], match["default"]
    if name is None:
        return "${"
    value = environ.get(name)
    if default is not None:
        value = value or default.removeprefix(":-")
    if value is None:
        report.error(where, f"the environment variable {name} is not set{nearest(name, environ)}")
        return ""
    if not _is_text(value):
        report.error(where, f"the environment variable {name} is not valid UTF-8 text")
        return ""
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
