"""The words everything shares: failures, plans, recoveries, attempts, steps, decisions, events, samples, status.

All of them are frozen. Times are aware UTC datetimes, durations are seconds.
"""

from recovery.models.failure import MAX_DETAILS, Failure, fingerprint_of
from recovery.models.health import CheckState, Sample, ServiceState
from recovery.models.plan import LeftOut, Plan, PlannedAttempt
from recovery.models.records import Attempt, Decision, Event, Lease, Recovery, Step
from recovery.models.standing import BreakerView, Degradation, Endpoint, Mitigation
from recovery.models.words import (
    OPEN_STATES,
    Action,
    AttemptState,
    BreakerState,
    Category,
    Choice,
    FailureType,
    JsonObject,
    Kind,
    Level,
    Outcome,
    RecoveryState,
    ServiceName,
    Severity,
    Status,
    StepState,
    new_id,
    utcnow,
)

__all__ = [
    "MAX_DETAILS",
    "OPEN_STATES",
    "Action",
    "Attempt",
    "AttemptState",
    "BreakerState",
    "BreakerView",
    "Category",
    "CheckState",
    "Choice",
    "Decision",
    "Degradation",
    "Endpoint",
    "Event",
    "Failure",
    "FailureType",
    "JsonObject",
    "Kind",
    "Lease",
    "LeftOut",
    "Level",
    "Mitigation",
    "Outcome",
    "Plan",
    "PlannedAttempt",
    "Recovery",
    "RecoveryState",
    "Sample",
    "ServiceName",
    "ServiceState",
    "Severity",
    "Status",
    "Step",
    "StepState",
    "fingerprint_of",
    "new_id",
    "utcnow",
]
