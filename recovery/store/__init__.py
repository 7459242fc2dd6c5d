"""Where the truth is kept: SQL tables and claims, Redis locks, their in-memory doubles and the migrations.

Import from the submodule that you need, so that nobody pays for SQLAlchemy or redis-py who uses neither.
"""
