"""A Celery app that uses the client: one line reports whatever goes wrong in it, a breaker keeps it off a mail server that is down.

Run it in the folder of a platform (`recovery up`) that looks after a service `mail`, or say by RECOVERY_REDIS_URL where the platform is.
`MAILER_BROKER` is its own broker, by default a Redis on this machine:

    export PYTHONPATH=examples/celery_app      # in both terminals; where the examples are
    MAIL_URL=http://127.0.0.1:8002 celery -A mailer worker
    celery -A mailer call mail.send --args '["ann"]'      # in the other one, while the mail server is down
    recovery show mail      # the failure was reported, and became a recovery
"""

import os
from urllib.request import urlopen

from celery import Celery, Task

from recovery.client import CircuitOpen, RecoveryClient
from recovery.client.celery import bridge

MAIL = os.environ.get("MAIL_URL", "http://127.0.0.1:8002")

app = Celery("mailer", broker=os.environ.get("MAILER_BROKER", "redis://127.0.0.1:6379/1"))
app.conf.task_ignore_result = True
client = RecoveryClient()  # before the pool forks: each child sends its own reports
bridge(client, service={"mail.": "mail"}, category="service_unavailable")  # tasks by prefix; others are not reported
server = client.breaker("mail", failure_threshold=3, reset_timeout=2)


@app.task(name="mail.send", bind=True, max_retries=20)  # type: ignore[untyped-decorator]
def send(self: Task, to: str) -> None:
    """Send a mail; while the mail server's circuit is open, come back when it says so."""
    try:
        with server, urlopen(f"{MAIL}/?to={to}", timeout=2) as answer:
            answer.read()
    except CircuitOpen as refused:
        raise self.retry(countdown=refused.retry_after, exc=refused) from refused
    if client.flags.enabled("receipts"):
        client.heartbeat("mail-sender")
