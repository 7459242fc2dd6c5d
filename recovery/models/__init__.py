"""The words everything shares: failures, plans, recoveries, attempts, steps, decisions, events, samples, status.

All of them are frozen. Times are aware UTC datetimes, durations are seconds.
"""

from recovery.models.failure import MAX_DETAILS, Failure, fingerprint_of
from recovery.models.health import CheckState, Sample, ServiceState
from recovery.models.plan import LeftOut, Plan, PlannedAttempt
from recovery.models.policy import Approval, Basis, Load, Pulse, Quota, Silence
from recovery.models.records import Attempt, Decision, Event, Lease, Recovery, Step
from recovery.models.standing import BreakerView, Degradation, Endpoint, Mitigation
from recovery.models.words import (
    OPEN_STATES,
    Action,
    Answer,
    AttemptState,
    Autonomy,
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
    SilenceKind,
    Status,
    StepState,
    new_id,
    utcnow,
)

__all__ = [
    "MAX_DETAILS",
    "OPEN_STATES",
    "Action",
    "Answer",
    "Approval",
    "Attempt",
    "AttemptState",
    "Autonomy",
    "Basis",
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
    "Load",
    "Mitigation",
    "Outcome",
    "Plan",
    "PlannedAttempt",
    "Pulse",
    "Quota",
    "Recovery",
    "RecoveryState",
    "Sample",
    "ServiceName",
    "ServiceState",
    "Severity",
    "Silence",
    "SilenceKind",
    "Status",
    "Step",
    "StepState",
    "fingerprint_of",
    "new_id",
    "utcnow",
]
