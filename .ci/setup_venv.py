"""Fill a virtual environment from a lock file and install this project into it, editable.

    python3 .ci/setup_venv.py VENV LOCK

Does nothing if that was done before with the same lock and pyproject.toml. Several runs at once wait for each other.
Needs only the standard library, and stays readable to Python 3.6, which must get as far as to say that it is too old.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

NEEDED = (3, 11)


def digest(lock: Path) -> str:
    """Return what identifies the contents that an environment filled from `lock` must have."""
    return hashlib.sha256(lock.read_bytes() + Path("pyproject.toml").read_bytes()).hexdigest()


def works(python: Path) -> bool:
    """Say whether the environment's Python starts (it does not after the system's Python moved) and has pip."""
    return python.exists() and subprocess.call([str(python), "-c", "import pip"], stderr=subprocess.DEVNULL) == 0


def create(venv: Path) -> None:
    """Make an empty environment."""
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(venv)]):
        sys.exit(f"setup: Python could not create {venv}; on Debian and Ubuntu, install the package python3-venv")


def install(python: Path, *what: str) -> None:
    """Let pip install `what`; end this script if it fails."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    if subprocess.call(command):
        sys.exit(f"setup: 'pip install {' '.join(what)}' failed; its output above says why")


def fill(venv: Path, lock: Path) -> None:
    """Make `venv` hold what `lock` names, and this project, unless it does already."""
    python, stamp = venv / "bin" / "python", venv / f".installed-{lock.name}"
    wanted = digest(lock)
    if works(python):
        if stamp.exists() and stamp.read_text() == wanted:
            os.utime(str(stamp))  # make compares times
            return
    else:
        create(venv)
    print(f"setup: installing {lock} into {venv}, once ...", flush=True)
    install(python, "--require-hashes", "-r", str(lock))
    install(python, "--no-deps", "--no-build-isolation", "--editable", ".")
    stamp.write_text(wanted)


def main() -> None:
    """Read the arguments and fill, one at a time."""
    if sys.version_info < NEEDED:
        found = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"setup: Python 3.11 or newer is needed, {sys.executable} is {found}; name another: make PYTHON=python3.12 ...")
    venv, lock = Path(sys.argv[1]), Path(sys.argv[2])
    with Path(f"{venv}.lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fill(venv, lock)


if __name__ == "__main__":
    main()
