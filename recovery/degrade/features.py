"""What each level of degradation costs: which features it switches off, and what it leaves of each capability. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from recovery.config.degradation import CapabilityDeclaration, FeatureDeclaration
from recovery.degrade.keys import SYSTEM
from recovery.models import Degradation, Level

__all__ = ["LEVELS", "SYSTEM", "limits", "resolved", "switched_off", "worst"]

LEVELS = tuple(Level)
"""From mild to severe."""

_OFF_UP_TO = {Level.PARTIAL: 25, Level.LIMITED: 50, Level.MINIMAL: 75, Level.EMERGENCY: 99}
"""The highest priority that a level switches off, where the feature does not say: a quarter of the scale each, and 100 stays."""


def worst(levels: "list[Level]") -> Level:
    """Return the most severe level, `normal` if there is none."""
    return max(levels, key=LEVELS.index, default=Level.NORMAL)


def switched_off(features: Mapping[str, FeatureDeclaration], service: str, level: Level) -> tuple[str, ...]:
    """Return the declared features that are off while `service` (or `SYSTEM`) is at `level`, in alphabetical order."""
    return tuple(sorted(name for name, feature in features.items() if _concerns(feature.service, service) and _is_off(feature, level)))


def limits(capabilities: Mapping[str, CapabilityDeclaration], service: str, level: Level) -> dict[str, int]:
    """Return what `level` leaves of each declared capability, in percent; a level left out takes the next milder one's."""
    found = {}
    for name, capability in capabilities.items():
        if _concerns(capability.service, service) and (percent := _left(capability, level)) is not None:
            found[name] = percent
    return found


def resolved(
    degradation: Degradation, features: Mapping[str, FeatureDeclaration], capabilities: Mapping[str, CapabilityDeclaration]
) -> Degradation:
    """Return a degradation with all that its level costs, so that whoever reads it needs no declarations.

    What it names itself goes before what is declared: a percentage given for a capability stands.
    """
    off = {*degradation.features_off, *switched_off(features, degradation.service, degradation.level)}
    left = limits(capabilities, degradation.service, degradation.level) | degradation.capabilities
    return replace(degradation, features_off=tuple(sorted(off)), capabilities=left)


def _concerns(declared: str | None, service: str) -> bool:
    return declared is None or service in (declared, SYSTEM)


def _is_off(feature: FeatureDeclaration, level: Level) -> bool:
    if level is Level.NORMAL:
        return False
    if feature.off_from is not None:
        return LEVELS.index(level) >= LEVELS.index(feature.off_from)
    return feature.priority <= _OFF_UP_TO[level]


def _left(capability: CapabilityDeclaration, level: Level) -> int | None:
    declared = (capability.at(milder) for milder in reversed(LEVELS[: LEVELS.index(level) + 1]))
    return next((percent for percent in declared if percent is not None), None)
