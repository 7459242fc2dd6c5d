"""Does it safely: intake of failures, one durable transition at a time, leases with fencing, the step journal, verification, the reaper."""
