"""What keeps a process from starting."""

from __future__ import annotations


class FatalStartError(Exception):
    """The process cannot start. `message` says what is wrong, `hint` what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def find_fatal(error: BaseException) -> FatalStartError | None:
    """The first FatalStartError in `error`, which task groups may have wrapped; None if none."""
    if isinstance(error, FatalStartError):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            found = find_fatal(inner)
            if found is not None:
                return found
    return None
