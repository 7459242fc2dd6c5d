"""The Celery app, found here by `celery -A workers ...`. Its settings are in `celeryconfig.py`, its tasks in `workers/tasks/`."""

import sys

from celery import Celery

from workers.locate import beside

app = Celery("recovery", task_cls="workers.task:RecoveryTask", include=["workers.tasks", "workers.processes"])
app.config_from_object(beside("celeryconfig"))
app.steps["consumer"].update(  # by name: only a worker imports them
    {
        "workers.resilience:VisibilityHeartbeat",
        "workers.reports:ReportDrain",
        "workers.circuits:CircuitHistoryDrain",
        "workers.shortcut:ShortcutStep",
    }
)
app.steps["worker"].add("workers.pulse:WorkerPulse")

if "flower" in sys.argv[1:]:  # before the command reads its options
    from recovery.settings import Settings
    from workers.platform.flower import secure_flower

    secure_flower(Settings())

if "result" in sys.argv[1:]:  # that command lets through what a task raised
    from workers.cli.edge import tell_refusals

    tell_refusals()
