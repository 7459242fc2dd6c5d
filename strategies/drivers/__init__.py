"""How remedies reach real things: one module per driver, registered by the list below."""

from recovery.ports import DriverKind
from recovery.registry import Registry
from strategies.drivers.command import COMMAND
from strategies.drivers.process import PROCESS
from strategies.drivers.supervisor import SUPERVISOR
from strategies.plugins import add_plugins

DRIVERS: Registry[DriverKind] = Registry("driver")
"""Every driver by its name in `recovery.toml`: ours, and those of installed packages (entry points `recovery.drivers`)."""

for _kind in (PROCESS, COMMAND, SUPERVISOR):
    DRIVERS.add(_kind.name, _kind)
add_plugins(DRIVERS, "recovery.drivers", lambda member: isinstance(member, DriverKind))
