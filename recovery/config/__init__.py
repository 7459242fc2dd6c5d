"""What the operator declares in `recovery.toml`: the fleet, its checks, drivers and remedies, read and validated."""
