"""What can go wrong with the local stack, in words that say what to do about it."""


class StackError(Exception):
    """The stack cannot be started, stopped or found; the message names the cause and the remedy."""


class FetchError(StackError):
    """Something that has to be downloaded or built once could not be; another part may stand in for it."""
