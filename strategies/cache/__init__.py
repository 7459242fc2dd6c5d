"""How `cache_rebuild` finds corrupted entries, asks the authoritative source for them, and replaces them."""
