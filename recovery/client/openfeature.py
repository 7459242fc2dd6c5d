"""An OpenFeature provider over `RecoveryClient`: degradations and endpoints as flags. Needs the extra `openfeature`.

Flag keys by type:

boolean         a feature: on unless a degradation switches it off
integer         a capability in percent, 0 to 100
float           a capability as a share, 0.0 to 1.0
string          `level:<service>` (`level:*` for the system's own), `endpoint:<service>`
object          `service:<service>`: everything about it
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagMetadata, FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, FeatureProvider, Metadata

from recovery.client.client import RecoveryClient
from recovery.client.flags import Degraded, Explanation
from recovery.client.view import Change
from recovery.client.words import checked_name
from recovery.degrade.keys import SYSTEM

__all__ = ["RecoveryProvider"]

T = TypeVar("T")
Emit = Callable[[FeatureProvider, ProviderEvent, ProviderEventDetails], None]
Structure = Sequence[FlagValueType] | Mapping[str, FlagValueType]

LEVEL, ENDPOINT, SERVICE = "level:", "endpoint:", "service:"
SERVICE_ATTRIBUTE = "service"
"""Attribute of the evaluation context that says whose degradations to heed."""

_METADATA = Metadata(name="celery-recovery")
_STRINGS = f"string flags are '{LEVEL}<service>' and '{ENDPOINT}<service>'"


class RecoveryProvider(AbstractProvider):
    """Answers OpenFeature's questions from a client's local view, without waiting, and tells of changes by events.

    The client stays the caller's: close it after the provider was shut down. One provider may serve several domains.

    Args:
        client: Whose view to read.
        service: Whose degradations to heed where the evaluation context has no attribute `service`; default: everybody's.
    """

    def __init__(self, client: RecoveryClient, *, service: str | None = None) -> None:
        super().__init__()
        self._client = client
        self._flags = client.flags
        self._service = service
        self._failed = False
        self._remove: Callable[[], None] | None = None

    # --- its life ---

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return _METADATA

    def attach(self, on_emit: Emit) -> None:
        """Tell of changes from now on; the SDK calls it before `initialize`."""
        super().attach(on_emit)
        if self._remove is None:
            self._remove = self._flags.on_change(self._tell)

    def detach(self) -> None:
        """Tell of nothing any more."""
        if self._remove is not None:
            self._remove()
            self._remove = None
        super().detach()

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 - what is known hangs on no context
        """Read what is in force; at most 0.9 s.

        Raises:
            ProviderNotReadyError: if Redis is away. The provider gets ready by itself when it is back.
        """
        self._client.warm_up()
        self._failed = self._flags.freshness != "fresh"
        if self._failed and self._flags.freshness != "fresh":  # a second look: from here on `_tell` tells that it is ready
            raise ProviderNotReadyError("Redis was not reached; flags have their defaults, or what was known last, until it is")

    def _tell(self, change: Change) -> None:
        if change.freshness == "fresh" and (change.before == "stale" or self._failed):
            self._failed = False
            self.emit_provider_ready(ProviderEventDetails(message="Redis is reached"))
        elif change.freshness == "stale" and change.before == "fresh":
            self.emit_provider_stale(ProviderEventDetails(message="Redis is away; what is known holds until it ends"))
        if changed := _keys(change):
            self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=changed))

    # --- questions ---

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001 - the SDK's signature
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Say whether the feature `flag_key` is on; the targeting key decides who has it back first."""
        service, key, wrong = self._asker(evaluation_context)
        if wrong or (wrong := _wrong_form(flag_key, "features (boolean)")):
            return _error(default_value, *wrong)
        answer = self._flags.why(flag_key, service=service, key=key)
        if answer.why == "unknown":
            return _not_ready(default_value)
        return _resolved(answer.value, answer, "on" if answer.value else "off", Reason.DISABLED)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Return what is left of the capability `flag_key`, in percent."""
        return self._capability(flag_key, default_value, evaluation_context, int)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Return what is left of the capability `flag_key`, from 0.0 to 1.0."""
        return self._capability(flag_key, default_value, evaluation_context, _share)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002 - the key names the service
    ) -> FlagResolutionDetails[str]:
        """Return the level of a service, or the URL of the backup in use, for which `default_value` is the primary's."""
        if flag_key.startswith(LEVEL) and _is_name(service := flag_key.removeprefix(LEVEL)):
            answer = self._flags.why_level(service)
            return _not_ready(default_value) if answer.why == "unknown" else _resolved(str(answer.value), answer, answer.value)
        if flag_key.startswith(ENDPOINT) and _is_name(service := flag_key.removeprefix(ENDPOINT)):
            return self._endpoint(service, default_value)
        return _error(default_value, ErrorCode.TYPE_MISMATCH, f"'{flag_key}' is no string: {_STRINGS}")

    def resolve_object_details(
        self, flag_key: str, default_value: Structure, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Structure]:
        """Return everything about a service: its level, what is off or limited, the backup in use, and each degradation."""
        service = flag_key.removeprefix(SERVICE)
        if not flag_key.startswith(SERVICE) or not _is_name(service):
            return _error(default_value, ErrorCode.TYPE_MISMATCH, f"'{flag_key}' is no object: object flags are '{SERVICE}<service>'")
        _, key, wrong = self._asker(evaluation_context)
        if wrong:
            return _error(default_value, *wrong)
        level = self._flags.why_level(service)
        if level.why == "unknown":
            return _not_ready(default_value)
        return _resolved(self._everything(service, level, key), level, level.value)

    def _asker(self, context: EvaluationContext | None) -> tuple[str | None, str | None, tuple[ErrorCode, str] | None]:
        """Return the service and the key to ask for, and what is wrong with the context, if anything is."""
        if context is None:
            return self._service, None, None
        service = context.attributes.get(SERVICE_ATTRIBUTE, self._service) if context.attributes else self._service
        if service is None or (isinstance(service, str) and _is_name(service)):
            return service, context.targeting_key, None
        return None, None, (ErrorCode.INVALID_CONTEXT, f"attribute '{SERVICE_ATTRIBUTE}' is {service!r}: it must be a service's name")

    def _capability(self, name: str, default: T, context: EvaluationContext | None, shown: Callable[[int], T]) -> FlagResolutionDetails[T]:
        service, _, wrong = self._asker(context)
        if wrong or (wrong := _wrong_form(name, "capabilities (integer, float)")):
            return _error(default, *wrong)
        answer = self._flags.why_capability(name, service=service)
        if answer.why == "unknown":
            return _not_ready(default)
        return _resolved(shown(answer.value), answer, f"{answer.value}%")

    def _endpoint(self, service: str, primary: str) -> FlagResolutionDetails[str]:
        freshness = self._flags.freshness
        if freshness == "unknown":
            return _not_ready(primary)
        url = self._flags.endpoint(service, "")
        reason = Reason.STALE if freshness == "stale" else Reason.TARGETING_MATCH if url else Reason.DEFAULT
        variant, metadata = ("backup", {"service": service}) if url else ("primary", {})
        return FlagResolutionDetails(url or primary, reason=reason, variant=variant, flag_metadata=metadata)

    def _everything(self, service: str, level: Explanation[str], key: str | None) -> Mapping[str, FlagValueType]:
        found = self._flags.in_force(service)
        features = sorted({feature for one in found for feature in one.features_off})
        capabilities = sorted({name for one in found for name in one.capabilities})
        return {
            "service": service,
            "level": level.value,
            "features_off": [feature for feature in features if not self._flags.enabled(feature, service=service, key=key)],
            "capabilities": {name: self._flags.capability(name, service=service) for name in capabilities},
            "endpoint": self._flags.endpoint(service, ""),
            "degradations": [dict(_described(one)) for one in found],
        }


def _is_name(service: str) -> bool:
    """Say whether a service can be called so; `*` is the whole system."""
    try:
        return service == SYSTEM or bool(checked_name(service))
    except ValueError:
        return False


def _share(percent: int) -> float:
    return percent / 100


def _resolved(value: T, answer: Explanation[object], variant: str, degraded: Reason = Reason.TARGETING_MATCH) -> FlagResolutionDetails[T]:
    """Return an answer as the SDK wants it; `degraded` is the reason while something is in force."""
    cause = answer.cause
    if answer.stale:
        reason = Reason.STALE
    elif cause is None:
        reason = Reason.STATIC
    else:
        reason = Reason.SPLIT if answer.why == "restoring" else degraded
    metadata = {} if cause is None else {**_described(cause), "percent": answer.percent}
    return FlagResolutionDetails(value, reason=reason, variant=variant, flag_metadata=metadata)


def _described(one: Degraded) -> FlagMetadata:
    return {
        "service": one.service,
        "layer": one.layer,
        "level": one.level,
        "until": one.until,
        "recovery_id": one.recovery_id,
        "by": one.by,
        "reason": one.reason,
    }


def _error(default: T, code: ErrorCode, message: str) -> FlagResolutionDetails[T]:
    return FlagResolutionDetails(default, error_code=code, error_message=message, reason=Reason.ERROR)


_WAITING = "Redis was not reached yet: nobody knows what is in force"


def _not_ready(default: T) -> FlagResolutionDetails[T]:
    return _error(default, ErrorCode.PROVIDER_NOT_READY, _WAITING)


def _wrong_form(flag_key: str, asked: str) -> tuple[ErrorCode, str] | None:
    """Return what is wrong with a key that is of another type by its form; features and capabilities have any other name."""
    if flag_key.startswith((LEVEL, ENDPOINT, SERVICE)):
        return ErrorCode.TYPE_MISMATCH, f"'{flag_key}' is none of the {asked}: {_STRINGS}, object flags '{SERVICE}<service>'"
    return None


def _keys(change: Change) -> list[str]:
    """Return the flag keys whose answers may be others now."""
    services = change.levels | change.endpoints
    found = {*change.features, *change.capabilities}
    for prefix, names in ((LEVEL, change.levels), (ENDPOINT, change.endpoints), (SERVICE, services)):
        found.update(map(prefix.__add__, names))
    return sorted(found)
