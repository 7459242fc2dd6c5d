"""Runs a `python` or `sql` source in a process of its own: request and answer as JSON. Imports nothing of ours.

Reads `{"keys": [...], "python": "module:callable"}` or `{"keys": [...], "sql": {"url": ..., "query": ...}}` from stdin (a password
in the URL shows up in no process list) and prints an object of key to value.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module


def from_python(name: str, keys: list[str]) -> dict[str, object]:
    """Call `module:callable` with the keys."""
    module, _, path = name.partition(":")
    found: object = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{name} is not callable")
    answer = found(keys)
    if not isinstance(answer, Mapping):
        raise TypeError(f"{name} returned {type(answer).__name__}, not a mapping of key to value")
    return {_text(key): _plain(value) for key, value in answer.items()}


def from_sql(url: str, query: str, keys: list[str]) -> dict[str, object]:
    """Run the query once per key, in one transaction."""
    from sqlalchemy import create_engine, text  # a python source does not wait for this

    engine = create_engine(url)
    found: dict[str, object] = {}
    try:
        with engine.connect() as connection:
            for key in keys:
                for row in connection.execute(text(query), {"key": key}).mappings():
                    found[_text(row["key"])] = _plain(row["value"])
    finally:
        engine.dispose()
    return found


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _plain(value: object) -> object:
    return _text(value) if isinstance(value, bytes) else value


def main() -> int:
    """Answer one request; what the source prints goes to stderr, its error's last line too."""
    request = json.load(sys.stdin)
    keys, sql = request["keys"], request["sql"]
    try:
        with redirect_stdout(sys.stderr):
            answer = from_sql(sql["url"], sql["query"], keys) if sql else from_python(request["python"], keys)
            printed = json.dumps(answer)
    except Exception as error:  # noqa: BLE001 - whatever the operator's code raises becomes one line
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(printed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
