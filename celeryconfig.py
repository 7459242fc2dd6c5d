"""How Celery behaves here: every setting that keeps a recovery alive, with the reason beside it. URLs come from `Settings`."""

from kombu import Exchange, Queue

from recovery.settings import Settings

_settings = Settings()

QUEUES = ("restart", "cache_rebuild", "degrade", "backup_fallback", "circuit_reset", "failures", "health", "alerts", "maintenance")

# --- broker: loses nothing that it can keep, and never gives up ---

broker_url = _settings.broker
broker_connection_retry_on_startup = True  # a worker may start before its broker
broker_connection_max_retries = None  # for ever; 0 would mean "never retry", the default gives up after 46 minutes
broker_channel_error_retry = True  # a failover answers READONLY for a moment; without this the worker exits
broker_pool_acquire_timeout = 2  # seconds; the default waits for ever for a free connection
broker_transport_options = (
    {
        "visibility_timeout": 30,  # seconds until a dead worker's messages return; safe only with `VisibilityHeartbeat`
        "unacked_restore_interval": 2,  # look for such messages every 2 seconds ...
        "unacked_restore_throttle": 1,  # ... every time, not every tenth
        "unacked_restore_limit": 200,  # a crowd of them returns in bounded batches
        "socket_timeout": 10,  # a hung broker must not hold a sender for ever
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 10,  # notices a half-open connection
        "priority_steps": [0],  # one list per queue: else others' messages, which are the most urgent, go before ours in all queues
        "global_keyprefix": "recovery:celery:",  # one Redis can serve several programs
        "client_name": "recovery",
    }
    if _settings.broker.startswith(("redis", "sentinel", "unix"))
    else {"confirm_publish": True}  # sent means that the broker has it; RabbitMQ knows none of the above
)

# --- queues: each has its own workers, so that a flood on one starves no other ---

_rabbit = _settings.broker.startswith(("amqp", "pyamqp"))
_quorum = {
    "x-queue-type": "quorum",  # survives the loss of a node, and gives a dead worker's messages back at once
    "x-delivery-limit": 20,  # a message that takes down whoever reads it is dropped then; the recovery's row stays
}
task_queues = tuple(  # each with its own exchange: else they would share one exchange and key
    Queue(name, Exchange(name), routing_key=name, queue_arguments=_quorum if _rabbit else None) for name in QUEUES
)
task_create_missing_queues = False  # a mistyped queue is an error, not a queue that nobody reads
task_default_queue = "maintenance"
task_routes = {
    "recovery.*": {"queue": "failures"},
    "health.*": {"queue": "health"},
    "alerts.*": {"queue": "alerts"},
    "maintenance.*": {"queue": "maintenance"},
    "celery.*": {"queue": "maintenance"},
}  # strategies go where the recovery's plan says

# --- tasks: a message may come twice or be lost, the recovery's row is the truth ---

task_acks_late = True  # a worker that dies gives its message back
task_reject_on_worker_lost = False  # True would run a deadly task for ever
task_retry_on_worker_lost = True  # bounded by `RecoveryTask.max_retries`
task_acks_on_failure = True  # what failed is done; the tick decides what follows
task_acks_on_timeout = True
task_time_limit = 300  # seconds; the message of a strategy brings its own, from its service's declaration
# no task_soft_time_limit: a pool puts the hard limit after the soft one, also for tasks that want none; see `RecoveryTask`
task_ignore_result = True  # only what a person or program asks for keeps a result
task_track_started = False  # a report is taken in sooner than that could be written down
task_send_sent_event = False  # else each of the silent ticks and sweeps would show up in Flower, sent and never received
task_serializer = result_serializer = "json"
accept_content = ["json"]  # a pickle could run anything
enable_utc = True
timezone = "UTC"

# --- workers ---

worker_consumer = "workers.consumer:Consumer"  # RabbitMQ need not keep what only Celery's ETAs want
worker_prefetch_multiplier = 1  # a recovery must not wait behind another in one busy process
worker_max_tasks_per_child = 1_000  # bounds leaks of third-party drivers
worker_max_memory_per_child = 200_000  # KiB
worker_soft_shutdown_timeout = 20.0  # seconds for running recoveries to finish; then they go back to the queue
worker_cancel_long_running_tasks_on_connection_loss = False  # a remedy at work is worth more than its message
worker_proc_alive_timeout = 30  # seconds; a slow machine is not a dead one
worker_send_task_events = True  # Flower lives on them

# --- results: a recovery's own row answers for it, see workers/results.py ---

result_backend = f"workers.results:RecoveryBackend+{_settings.database}"
result_extended = True
result_expires = 86_400  # seconds; the history keeps what matters

# --- beat ---

beat_scheduler = "workers.scheduler:FleetScheduler"
beat_max_loop_interval = 1  # seconds; also how soon a changed recovery.toml is noticed
beat_enable_remote_control = True  # `celery inspect ping -d celerybeat@host` is silent when beat has stalled
