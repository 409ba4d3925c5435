"""Runtimes are shared within a file."""

from kept import kept_processes  # noqa: F401 a fixture
