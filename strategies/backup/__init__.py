"""How `backup_fallback` finds a good backup, puts it in the place of a broken original, or sends callers elsewhere."""
