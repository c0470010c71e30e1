"""A command that cannot do what it was asked to."""


class CommandFailed(Exception):
    """Ends a command with exit status 1; the message is the one line that the user gets."""
