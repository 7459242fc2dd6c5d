"""The schema, step by step; `recovery.store.migrate` runs it."""
