"""The domain of celery-recovery: words, detection, decisions, the engine, breakers, degradation and history."""

__version__ = "0.1.0"
