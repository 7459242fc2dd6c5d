"""The tasks, by the queue they live on. Importing this package registers all of them."""

from workers.tasks import detection, housekeeping, intake, policy, remedies, watch

__all__ = ["detection", "housekeeping", "intake", "policy", "remedies", "watch"]
