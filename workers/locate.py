"""Finds the modules that lie beside the `workers` package: `celeryconfig.py` and `beat_schedule.py`.

They are loaded by path, because `celery` puts the working folder first on the import path and many projects have a
`celeryconfig.py` of their own there; that one belongs to their app, not to this one.
"""

import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

HOUSE = Path(__file__).resolve().parent.parent
"""The folder that holds `workers/`: the checkout, or `site-packages`."""


@cache
def beside(name: str) -> ModuleType:
    """Return our own module `name` from beside `workers/`, whatever else the import path offers under that name.

    Raises:
        ImportError: the installation is damaged.
    """
    path = HOUSE / f"{name}.py"
    known = sys.modules.get(name)
    if known is not None and known.__file__ is not None and Path(known.__file__).resolve() == path:
        return known
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"{path} is missing: install celery-recovery again")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
