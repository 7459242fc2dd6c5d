"""What the domain asks of the outside: checks, drivers, strategies, the store, cooldown locks and the clock, each as a Protocol."""

from recovery.ports.clock import Clock
from recovery.ports.detection import Check, CheckKind, Finding, Heartbeats, Probe
from recovery.ports.directives import Directive, Done, Execute, Wait
from recovery.ports.fleetwide import Breakers, Cooldowns, Degradations, Endpoints
from recovery.ports.intake import Accepted, Intake, Refusal, Report
from recovery.ports.policy import Leadership, PolicyStore
from recovery.ports.remedies import AttemptContext, Driver, DriverKind, Retry, StepWork, Strategy, Undo
from recovery.ports.rules import RuleStore
from recovery.ports.store import BreakerHistory, HealthStore, LeaseStore, RecoveryStore, Store

__all__ = [
    "Accepted",
    "AttemptContext",
    "BreakerHistory",
    "Breakers",
    "Check",
    "CheckKind",
    "Clock",
    "Cooldowns",
    "Degradations",
    "Directive",
    "Done",
    "Driver",
    "DriverKind",
    "Endpoints",
    "Execute",
    "Finding",
    "HealthStore",
    "Heartbeats",
    "Intake",
    "Leadership",
    "LeaseStore",
    "PolicyStore",
    "Probe",
    "RecoveryStore",
    "Refusal",
    "Report",
    "Retry",
    "RuleStore",
    "StepWork",
    "Store",
    "Strategy",
    "Undo",
    "Wait",
]
