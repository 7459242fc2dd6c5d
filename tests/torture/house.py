"""The folder that one campaign lives in: settings, `recovery.toml`, patients, and the plug-in that brings the remedy along."""

import os
import shutil
import tempfile
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from recovery.settings import Settings
from recovery.store.engine import parse_url
from tests.torture.part import PLANT
from tests.torture.patient import Patient
from tests.torture.points import HOME, Orders
from workers.platform.children import MISREAD

ROOT = Path(__file__).resolve().parents[2]
LEASE = 2.0
"""Seconds; short, so that a campaign is."""
PATIENTS = {"heart": True, "skin": False, "liver": True, "spleen": False, "lung": True, "kidney": False}
"""Whether each knows fences; the others do whatever they are told, as most things in the world."""

PLATFORM = f"""
[platform]
lease = {LEASE:g}
cooldown = 0
max_attempts = 1000
max_runs = 100
retry_failed_after = 1
flap_high = 101
ineffective_memory = 0

[platform.budget]
percent = 100
storm_percent = 100
"""
"""No guard may hold a recovery back: the campaign is about what happens to those that run."""

SERVICE = """
[services.{name}]
plan = {{ service_unavailable = ["mend"] }}
healthy_for = 0
verify_timeout = 4

[services.{name}.remedies.mend]
ledger = "{ledger}"
fenced = {fenced}

[[services.{name}.checks]]
type = "python"
function = "tests.torture.patient.probe"
arguments = {{ ledger = "{ledger}" }}
category = "service_unavailable"
interval = 1
timeout = 1
fall = 1
rise = 1
"""

METADATA = "Metadata-Version: 2.1\nName: torture\nVersion: 1\n"
ENTRY_POINTS = "[recovery.strategies]\nmend = tests.torture.mend:Mend\n"


class House:
    """Everything of one campaign that is on disk, and the environment of its processes.

    Args:
        plant: name of the bug that its processes have, None for none.
        database: an SQLAlchemy URL; a schema of its own is made in it. None: SQLite in the folder.
        redis: URL of an empty Redis database; None: an embedded Valkey.
    """

    def __init__(self, plant: str | None = None, database: str | None = None, redis: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tor-"))
        self.schema = self.folder.name.replace("-", "_").lower() if database else None
        self._server = database
        self.settings = Settings(
            data_dir=self.folder / "data",
            config=self.folder / "recovery.toml",
            redis_url=redis,
            database_url=self._schema_url() if database else None,
        )
        self.patients = {name: Patient(self.folder / f"{name}.jsonl", fenced=fenced) for name, fenced in PATIENTS.items()}
        self.orders = Orders(self.folder)
        said = {
            HOME: str(self.folder),
            "RECOVERY_BEAT_HOLDER": self.folder.name,  # a beat that is started again goes on at once, as under `recovery up`
            PLANT: plant or "",
            "RECOVERY_DATA_DIR": str(self.settings.home),
            "RECOVERY_CONFIG": str(self.settings.config),
            "RECOVERY_REDIS_URL": redis,
            "RECOVERY_DATABASE_URL": self.settings.database_url,
            "PYTHONPATH": f"{self.folder / 'site'}{os.pathsep}{ROOT}",
            "PYTHONUNBUFFERED": "1",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECOVERY_", "CELERY_")) and name not in MISREAD}
        self.environ = kept | {name: value for name, value in said.items() if value is not None}

    def furnish(self) -> None:
        """Write what the platform reads."""
        self.orders.prepare()
        (self.folder / "log").mkdir()
        (self.settings.home / "run").mkdir(mode=0o700, parents=True)
        self.settings.home.chmod(0o700)
        plugin = self.folder / "site" / "torture-1.dist-info"
        plugin.mkdir(parents=True)
        (plugin / "METADATA").write_text(METADATA)
        (plugin / "entry_points.txt").write_text(ENTRY_POINTS)
        services = [SERVICE.format(name=one.name, ledger=one.ledger, fenced=str(one.fenced).lower()) for one in self.patients.values()]
        self.settings.config.write_text("\n".join([PLATFORM, *services]))
        if self.schema:
            self._on_server(f'CREATE SCHEMA "{self.schema}"')

    def clear(self, *, keep: bool) -> None:
        """Take everything away again, unless somebody wants to look at it."""
        if keep:
            return
        if self.schema:
            self._on_server(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE')
        shutil.rmtree(self.folder, ignore_errors=True)

    def _schema_url(self) -> str:
        assert self._server is not None
        url = make_url(self._server).update_query_dict({"options": f"-csearch_path={self.schema}", "application_name": str(self.schema)})
        return url.render_as_string(hide_password=False)

    def _on_server(self, statement: str) -> None:
        assert self._server is not None
        engine = create_engine(parse_url(self._server))
        with engine.begin() as connection:
            connection.execute(text(statement))
        engine.dispose()
