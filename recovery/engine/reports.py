"""Reads failure reports: what a valid one says, and what is wrong with the others, in one sentence each."""

from collections.abc import Mapping
from datetime import datetime

from pydantic import ValidationError

from recovery.errors import FailureInvalid, RecoveryError, nearest
from recovery.models import Category, Failure, Severity
from recovery.ports import Refusal

SHOWN = 100
"""Characters of a service's name that a refusal keeps."""


def parse_failure(payload: Mapping[str, object]) -> Failure:
    """Return the failure that a report describes; raises `FailureInvalid` with one sentence per problem."""
    try:
        return Failure.model_validate(dict(payload))
    except ValidationError as error:
        problems = "; ".join(_sentence(problem["loc"], problem["msg"], problem["type"], problem.get("input")) for problem in error.errors())
        raise FailureInvalid(f"failure report refused: {problems}") from None


def refusal_of(error: RecoveryError, payload: Mapping[str, object], actor: str, at: datetime) -> Refusal:
    """Return what the audit trail notes about a refused report."""
    return Refusal(actor, error.code, error.message, at, service=str(payload.get("service", ""))[:SHOWN])


def _sentence(loc: tuple[int | str, ...], message: str, kind: str, given: object) -> str:
    where = ".".join(str(part) for part in loc) or "report"
    if kind == "extra_forbidden":
        return f"unknown key '{where}'{nearest(where, Failure.model_fields)}"
    if kind == "missing":
        return f"'{where}' is missing"
    choices = {"category": Category, "severity": Severity}.get(where)
    hint = nearest(str(given), [str(choice) for choice in choices]) if choices else ""
    return f"'{where}': {message[:1].lower()}{message[1:]}{hint}"
