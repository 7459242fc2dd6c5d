"""The Celery app: `celery -A workers worker|beat|flower|call|...` finds it here. Settings are in `celeryconfig.py`, tasks in `workers/tasks/`."""

from celery import Celery

from workers.locate import beside

app = Celery("recovery", task_cls="workers.task:RecoveryTask", include=["workers.tasks", "workers.processes"])
app.config_from_object(beside("celeryconfig"))
app.steps["consumer"].update(  # by name: only a worker imports them
    {"workers.resilience:VisibilityHeartbeat", "workers.reports:ReportDrain"}
)
