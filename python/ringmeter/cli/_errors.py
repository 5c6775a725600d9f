"""What ends a command."""

from __future__ import annotations


class CommandError(Exception):
    """A command cannot do what it was asked for. Its message is for the user."""


class UsageError(Exception):
    """The arguments do not go together."""
