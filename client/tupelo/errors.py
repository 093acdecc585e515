"""Everything that tupelo raises.

    TupeloError
    +-- ApplicationError            raised by a command: code, message, fields
    +-- OutcomeUnknown              the deadline passed; the operation may or may not take effect
    |   +-- NotPersisted            the write is in the grid, but the store does not have it (yet)
    +-- RequestError                the request is wrong; repeating it cannot help
    |   +-- InvalidArgument         wrong type, malformed key, partition out of range
    |   +-- TooLarge                a key or value above its limit
    |   +-- UnknownSpace
    |   +-- UnknownCommand
    |   +-- CommandFailed           the command's code broke; nothing was written
    |   +-- StaleToken              a retry from outside the session's window; never run again
    |   +-- SessionExpired
    +-- Unavailable                 certainly not carried out; a retry may succeed
        +-- DeadlineExceeded        the time of the call ran out: a read, or a write never sent
        +-- WrongOwner              (stale_route) the partition has moved
        +-- NotReady                the primary is recovering or handing over
        +-- Overloaded
        +-- NotEnoughReplicas
        +-- PartitionLost
        +-- ConnectionLost          no unit or router could be reached
        +-- ShuttingDown

Every error has `retryable` (the same call may succeed later; nothing was done by this attempt) and
`stale_route` (the caller's partition table was older than the unit's).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar, Final, Self


class ResultCode(IntEnum):
    """How one operation ended: the `codes` column of a batch result.

    Below 16 the operation was carried out, from 16 it certainly was not, from 64 nobody knows.
    """

    OK = 0
    NOT_FOUND = 1
    EXISTS = 2
    VERSION_MISMATCH = 3
    APPLICATION_ERROR = 4
    WRONG_OWNER = 16
    NOT_READY = 17
    OVERLOADED = 18
    STALE_TOKEN = 19
    SESSION_EXPIRED = 20
    PARTITION_LOST = 21
    NOT_ENOUGH_REPLICAS = 22
    UNKNOWN_SPACE = 23
    UNKNOWN_COMMAND = 24
    INVALID_ARGUMENT = 25
    KEY_TOO_LARGE = 26
    VALUE_TOO_LARGE = 27
    PARTITION_OUT_OF_RANGE = 28
    COMMAND_FAILED = 29
    SHUTTING_DOWN = 30
    OUTCOME_UNKNOWN = 64
    NOT_PERSISTED = 65
    ANSWER_FULL = 66


class TupeloError(Exception):
    """Root of the tree. `code` is the wire code, `message` says what is wrong and what to do."""

    code: ClassVar[ResultCode] = ResultCode.OUTCOME_UNKNOWN
    retryable: ClassVar[bool] = False
    stale_route: ClassVar[bool] = False

    def __init__(self, message: str = "", fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fields: dict[str, Any] = dict(fields or {})


class OutcomeUnknown(TupeloError):
    """No answer came in time. The operation may have taken effect, or may still do so."""

    code = ResultCode.OUTCOME_UNKNOWN


class NotPersisted(OutcomeUnknown):
    """The write was carried out and acknowledged: it is in the grid, and must not be repeated. What
    was waited for did not happen: the store does not have it.

    The message says how far the store is behind and why; `fields` has `lag_records`, `lag_bytes`,
    `lag_s` and `cause`, or `dead_letter`: why the store refused the change for good. Unless it was
    refused, it arrives there later.
    """

    code = ResultCode.NOT_PERSISTED


class ApplicationError(TupeloError):
    """An error that a command raised on purpose; nothing of the command was written.

    Subclass it in a processing unit. `error_code` (default: the class name) names the error on the
    wire; keyword arguments become `fields` (MessagePack values) and come back to the caller with
    it, where they can also be read as attributes:

        class SeatTaken(ApplicationError):
            def __init__(self, event: str, number: int) -> None:
                super().__init__(f"seat {number} is taken", event=event, number=number)
    """

    code = ResultCode.APPLICATION_ERROR
    error_code: str = "ApplicationError"

    def __init__(self, message: str = "", /, **fields: Any) -> None:
        super().__init__(message, fields)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "error_code" not in cls.__dict__:
            cls.error_code = cls.__name__

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__} has no attribute or field {name!r}")

    @classmethod
    def from_wire(cls, error_code: str, message: str, fields: Mapping[str, Any]) -> Self:
        """The error as it left the command. A subclass's own constructor is not run again."""
        error = cls.__new__(cls)
        ApplicationError.__init__(error, message)
        if cls is ApplicationError:  # of a class that is not known here: the text says which
            error.args = (f"{error_code}: {message}" if message else error_code,)
        error.fields = dict(fields)
        error.error_code = error_code
        return error


class RequestError(TupeloError):
    """The request is wrong; repeating it cannot help."""

    code = ResultCode.INVALID_ARGUMENT


class InvalidArgument(RequestError):
    """A wrong type, a malformed key or value, a setting or argument out of its range."""

    code = ResultCode.INVALID_ARGUMENT


class TooLarge(RequestError):
    """A key or value above its limit; the message names both."""

    code = ResultCode.VALUE_TOO_LARGE


class UnknownSpace(RequestError):
    """Neither a processing unit nor `create_space` has declared the space."""

    code = ResultCode.UNKNOWN_SPACE


class UnknownCommand(RequestError):
    """No loaded processing unit has the command."""

    code = ResultCode.UNKNOWN_COMMAND


class CommandFailed(RequestError):
    """A command's code broke with an error it does not declare; nothing was written."""

    code = ResultCode.COMMAND_FAILED


class StaleToken(RequestError):
    """A retry from outside its session's window. It was not run again."""

    code = ResultCode.STALE_TOKEN


class SessionExpired(RequestError):
    """The client's session was evicted, and this operation may have been sent before."""

    code = ResultCode.SESSION_EXPIRED


class Unavailable(TupeloError):
    """Certainly not carried out by this attempt; a retry may succeed."""

    code = ResultCode.NOT_READY
    retryable = True


class DeadlineExceeded(Unavailable):
    """The time of the call ran out, and nothing of it was carried out: a read, or never sent."""

    code = ResultCode.NOT_READY


class WrongOwner(Unavailable):
    """The partition has moved; the newer table came with the answer."""

    code = ResultCode.WRONG_OWNER
    stale_route = True


class NotReady(Unavailable):
    """The partition has no primary that answers yet: it recovers or is handed over."""

    code = ResultCode.NOT_READY


class Overloaded(Unavailable):
    """A bound is reached, such as that of the journal while the store is away."""

    code = ResultCode.OVERLOADED


class NotEnoughReplicas(Unavailable):
    """The partition has fewer in-sync copies than `min_in_sync`."""

    code = ResultCode.NOT_ENOUGH_REPLICAS


class PartitionLost(Unavailable):
    """All in-sync replicas are gone, and until one returns there is nobody to ask."""

    code = ResultCode.PARTITION_LOST


class ConnectionLost(Unavailable):
    """No unit or router could be reached; nothing was sent."""

    code = ResultCode.NOT_READY


class ShuttingDown(Unavailable):
    """The process that was asked is stopping and takes no more."""

    code = ResultCode.SHUTTING_DOWN


_CLASSES: Final[dict[int, type[TupeloError]]] = {
    ResultCode.WRONG_OWNER: WrongOwner,
    ResultCode.NOT_READY: NotReady,
    ResultCode.OVERLOADED: Overloaded,
    ResultCode.STALE_TOKEN: StaleToken,
    ResultCode.SESSION_EXPIRED: SessionExpired,
    ResultCode.PARTITION_LOST: PartitionLost,
    ResultCode.NOT_ENOUGH_REPLICAS: NotEnoughReplicas,
    ResultCode.UNKNOWN_SPACE: UnknownSpace,
    ResultCode.UNKNOWN_COMMAND: UnknownCommand,
    ResultCode.INVALID_ARGUMENT: InvalidArgument,
    ResultCode.KEY_TOO_LARGE: TooLarge,
    ResultCode.VALUE_TOO_LARGE: TooLarge,
    ResultCode.PARTITION_OUT_OF_RANGE: InvalidArgument,
    ResultCode.COMMAND_FAILED: CommandFailed,
    ResultCode.SHUTTING_DOWN: ShuttingDown,
    ResultCode.OUTCOME_UNKNOWN: OutcomeUnknown,
    ResultCode.NOT_PERSISTED: NotPersisted,
    ResultCode.ANSWER_FULL: OutcomeUnknown,
}


def error_of(code: int, message: str = "", fields: Mapping[str, Any] | None = None) -> TupeloError:
    """The exception of a wire code from 16 on. A code this version does not know: OutcomeUnknown
    from 64, RequestError below (the operation was certainly not carried out).
    """
    known = _CLASSES.get(code)
    if known is None:
        known = OutcomeUnknown if code >= ResultCode.OUTCOME_UNKNOWN else RequestError
        message = message or f"result code {code}, which this version of the SDK does not know"
    return known(message or ResultCode(code).name, fields)
