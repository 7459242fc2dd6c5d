"""Check `python`: ask a function of your own, sync or async."""

import asyncio
import importlib
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from recovery.config.base import Declaration
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.threads import in_thread
from recovery.models import Category, FailureType, JsonObject
from recovery.ports import CheckKind, Finding, Heartbeats


def _dotted(name: str) -> str:
    module, _, function = name.replace(":", ".").rpartition(".")
    if not module or not all(part.isidentifier() for part in [*module.split("."), function]):
        raise ValueError("must be a dotted name like package.module.function")
    return name


class PythonOptions(Declaration):
    """`type = "python"`."""

    function: Annotated[str, AfterValidator(_dotted)]
    """`package.module.function` or `package.module:function`; imported by the health worker."""
    arguments: JsonObject = Field(default_factory=dict)
    """Keyword arguments for it."""


@dataclass(frozen=True, slots=True)
class PythonCheck:
    """Call the function in a thread of its own, so that even one that blocks hurts no other check.

    It passes when it returns True, None or an empty text; False or a text (what is wrong) is a failure, and so is an
    exception. A `Finding` is taken as it is. While a call hangs, no second one is started and the check fails.
    """

    name: str
    options: PythonOptions
    timeout: float

    async def probe(self) -> Finding:
        """Call it once."""
        return await in_thread(("python", self.name), self._call, self.timeout)

    def _call(self) -> Finding:
        try:
            function = load(self.options.function)
        except (ImportError, AttributeError, TypeError) as error:
            message = f"cannot load {self.options.function}: {error}"
            return Finding(ok=False, message=message, category=Category.UNKNOWN, type=FailureType.INITIALIZATION)
        answer = function(**self.options.arguments)
        if inspect.iscoroutine(answer):
            answer = asyncio.run(_within(answer, self.timeout))
        return judge_answer(answer, self.options.function)


async def _within(coroutine: Coroutine[Any, Any, object], seconds: float) -> object:
    async with asyncio.timeout(seconds):
        return await coroutine


def load(name: str) -> Callable[..., object]:
    """Return the function called `package.module.function`; raises ImportError, AttributeError or TypeError."""
    module, _, attribute = name.replace(":", ".").rpartition(".")
    function = getattr(importlib.import_module(module), attribute)
    if not callable(function):
        raise TypeError(f"it is a {type(function).__name__}, not a function")
    loaded: Callable[..., object] = function
    return loaded


def judge_answer(answer: object, name: str) -> Finding:
    """Return the verdict on what the function returned."""
    match answer:
        case Finding():
            return answer
        case None | True | "":
            return Finding(ok=True)
        case False:
            return Finding(ok=False, message=f"{name} returned False")
        case str():
            return Finding(ok=False, message=answer)
        case _:
            message = f"{name} returned {type(answer).__name__}; it must return a bool, a text (what is wrong) or a Finding"
            return Finding(ok=False, message=message, category=Category.UNKNOWN, type=FailureType.INITIALIZATION)


def build(service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> PythonCheck:
    """Return the declared check."""
    return PythonCheck(f"{service.name}.{check.name}", PythonOptions.model_validate(check.options), check.timeout)


PYTHON = CheckKind("python", PythonOptions, build)
