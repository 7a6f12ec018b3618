"""Alembic's scripts, in the package so that a server brings its own database up to date; never edit a released one."""
