"""Records that are made without their `__init__` are the ones that it makes."""

from dataclasses import FrozenInstanceError, dataclass, fields, replace

import pytest

from recovery.models import Plan, Recovery, RecoveryState
from recovery.models.frozen import altered, is_plain, maker
from tests.world import World


@pytest.fixture
def recovery() -> Recovery:
    world = World("restart")
    return world.recovery(world.report())


def test_a_record_of_all_its_fields_is_the_one_that_its_class_makes(recovery: Recovery) -> None:
    values = [getattr(recovery, field.name) for field in fields(Recovery)]

    made = maker(Recovery)(*values)

    assert made == Recovery(*values)
    assert type(made) is Recovery


def test_a_record_that_is_made_is_frozen(recovery: Recovery) -> None:
    made = altered(recovery, reason="another")

    with pytest.raises(FrozenInstanceError):
        made.reason = "a third"  # type: ignore[misc]


def test_altering_does_what_replacing_does(recovery: Recovery) -> None:
    changes = {"state": RecoveryState.FAILED, "due_at": None, "version": 7}

    assert altered(recovery, **changes) == replace(recovery, **changes)  # type: ignore[arg-type]
    assert altered(recovery) == recovery
    assert recovery.version != 7


def test_a_name_that_a_record_lacks_is_refused(recovery: Recovery) -> None:
    with pytest.raises(TypeError, match="Recovery has no field colour"):
        altered(recovery, colour="red")


def test_only_plain_records_are_made_this_way() -> None:
    @dataclass(frozen=True, slots=True)
    class Careful:
        number: int

        def __post_init__(self) -> None:
            assert self.number

    assert is_plain(Recovery)
    assert not is_plain(Careful)
    assert not is_plain(Plan)
    with pytest.raises(TypeError, match="Careful is not a frozen dataclass"):
        maker(Careful)
