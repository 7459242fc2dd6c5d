"""The tasks, by the queue they live on. Importing this package registers all of them."""

from workers.tasks import detection, housekeeping, intake, remedies

__all__ = ["detection", "housekeeping", "intake", "remedies"]
