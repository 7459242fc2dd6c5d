"""Finds the programs of the servers; where they are missing, root may have them installed from Debian's packages."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INSTALL_TIMEOUT = 150.0
POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this program before a package starts its service."""


@dataclass(frozen=True)
class Kind:
    """A server that the tests can use."""

    name: str
    package: str
    """Debian's name."""
    patterns: tuple[str, ...]
    """Where its program may be, beside the PATH; of several versions the newest counts."""
    users: tuple[str, ...]
    """Who runs it if we are root, first choice first."""

    def program(self) -> Path | None:
        """Return the server's program, None if it is not installed."""
        for pattern in self.patterns:
            found = sorted(Path("/").glob(pattern.lstrip("/")), key=_version)
            if found:
                return found[-1]
        on_path = shutil.which(Path(self.patterns[0]).name)
        return Path(on_path) if on_path else None


POSTGRES = Kind("PostgreSQL", "postgresql", ("/usr/lib/postgresql/*/bin/postgres",), ("postgres", "nobody"))
REDIS = Kind("Redis", "redis-server", ("/usr/bin/redis-server",), ("redis", "nobody"))
RABBIT = Kind("RabbitMQ", "rabbitmq-server", ("/usr/lib/rabbitmq/bin/rabbitmq-server",), ("rabbitmq", "nobody"))


def provide(kinds: tuple[Kind, ...]) -> dict[Kind, str]:
    """Install what is missing, if we may; return for each server that is still missing the reason."""
    missing = [kind for kind in kinds if kind.program() is None]
    if not missing:
        return {}
    reason = _install([kind.package for kind in missing])
    return {kind: reason or f"its package '{kind.package}' brought no program" for kind in missing if kind.program() is None}


def _install(packages: list[str]) -> str:
    """Install Debian packages without starting any service; return why that failed, or nothing."""
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"not installed, and only root on a Debian system could do so here: apt-get install {names}"
    sys.stderr.write(f"installing {names} ...\n")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "-qq", *packages]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with _no_service_starts():
        for update in (False, True):  # the lists of a fresh machine are empty or old
            try:
                if update:
                    subprocess.run(["apt-get", "update", "-qq"], env=environment, capture_output=True, timeout=INSTALL_TIMEOUT, check=False)
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
            except subprocess.TimeoutExpired:
                return f"apt-get install {names} took more than {INSTALL_TIMEOUT:g} s"
            if done.returncode == 0:
                return ""
    said = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines() or ["no reason given"]
    return f"apt-get install {names} failed: {said[0]}"


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Let packages install their services without starting them: the tests start their own, and end them."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]
