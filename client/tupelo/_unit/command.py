"""Commands: functions that run in the owner of the entries they touch."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec

from tupelo.codec import DECODE_ERRORS, encode_key
from tupelo.errors import ApplicationError, InvalidArgument

P = ParamSpec("P")
R = TypeVar("R")

_encode = msgspec.msgpack.Encoder().encode

# What msgspec says of a map of arguments, in the words of a call.
_WORDS = (
    ("Object missing required field", "missing argument"),
    ("Object contains unknown field", "unknown argument"),
    ("Missing required argument", "missing argument"),
    ("Unexpected keyword argument", "unknown argument"),
    (" - at `$.", " - in argument `"),
)


class Command(Generic[P, R]):
    """A function declared with `ProcessingUnit.command`.

    Calling it runs the function plainly: inside another command (same partition, same writes), or
    in a test of pure code. `await grid.call(command, ...)` runs it in the grid.

    Attributes:
        name: "<unit>.<function>".
        route: names of the arguments whose values decide the partition.
        read_only: it writes nothing, so it needs no token and may be repeated freely.
        errors: classes of the errors that it may raise, by error code.
    """

    def __init__(
        self,
        unit: str,
        function: Callable[P, R],
        route: tuple[str, ...],
        read_only: bool,
        errors: Mapping[str, type[ApplicationError]],
    ) -> None:
        self.name = f"{unit}.{function.__name__}"
        self.route = route
        self.read_only = read_only
        self.errors = errors
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__wrapped__ = function
        self._function = function
        _check_function(self.name, function)
        signature = inspect.signature(function)
        hints = _hints(self.name, function)
        self._names = tuple(signature.parameters)
        self._positional = sum(
            parameter.kind is not inspect.Parameter.KEYWORD_ONLY
            for parameter in signature.parameters.values()
        )
        self._check_route()
        self._arguments = _arguments_type(self.name, signature, hints)
        self._arguments_decoder = msgspec.msgpack.Decoder(self._arguments)
        returned = hints.get("return", Any)
        self._result_decoder = msgspec.msgpack.Decoder(type(None) if returned is None else returned)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Command({self.name!r})"

    # -- the caller's side

    def encode_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Arguments of a call as a MessagePack map, defaults filled in.

        Raises InvalidArgument, naming it, for an argument that is missing, unknown, given twice, or
        that MessagePack cannot carry. Types are checked where the command runs.
        """
        return self._encode(self._bind(args, kwargs))

    def encode_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The encoded arguments, and the route bytes that decide the partition."""
        arguments = self._bind(args, kwargs)
        return self._encode(arguments), self._route_bytes(arguments)

    def decode_result(self, data: bytes) -> R:
        """Raises InvalidArgument where it does not fit the annotation of the function, because
        caller and grid have different versions of the processing unit."""
        try:
            result: R = self._result_decoder.decode(data)
        except DECODE_ERRORS as error:
            raise InvalidArgument(
                f"{self.name} returned what its annotation here does not allow: {error}; is this "
                f"the version of the processing unit that the grid runs?"
            ) from None
        return result

    # -- the grid's side

    def prepare(self, data: bytes) -> tuple[Callable[[], R], bytes]:
        """The call that is to run, and its route bytes. Raises InvalidArgument."""
        try:
            arguments = self._arguments_decoder.decode(data)
        except DECODE_ERRORS as error:
            raise InvalidArgument(f"{self.name}: {_in_words(error)}") from None
        values = msgspec.structs.astuple(arguments)
        positional = self._positional
        function: Callable[..., R] = self._function
        if positional == len(values):
            return lambda: function(*values), self._route_bytes(arguments)
        named = dict(zip(self._names[positional:], values[positional:], strict=True))
        return lambda: function(*values[:positional], **named), self._route_bytes(arguments)

    # -- helpers

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if args:
            if len(args) > self._positional:
                raise InvalidArgument(
                    f"{self.name} takes {self._positional} positional arguments, not {len(args)}"
                )
            twice = set(self._names[: len(args)]) & set(kwargs)
            if twice:
                raise InvalidArgument(f"{self.name}: argument `{min(twice)}` given twice")
            kwargs = {**dict(zip(self._names, args, strict=False)), **kwargs}
        try:
            return self._arguments(**kwargs)
        except TypeError as error:
            raise InvalidArgument(f"{self.name}: {_in_words(error)}") from None

    def _encode(self, arguments: Any) -> bytes:
        try:
            return _encode(arguments)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidArgument(
                f"{self.name}: an argument cannot be sent as MessagePack: {error}"
            ) from None

    def _route_bytes(self, arguments: Any) -> bytes:
        """As `tupelo.codec` makes them of a key with the same route."""
        route = self.route
        if len(route) == 1:
            return encode_key(getattr(arguments, route[0]))
        return encode_key([getattr(arguments, name) for name in route])

    def _check_route(self) -> None:
        if not self.route:
            raise TypeError(
                f"{self.name} needs a route: @unit.command(route=...) names the argument(s) that "
                f"decide in which partition it runs"
            )
        for name in self.route:
            if name not in self._names:
                raise TypeError(
                    f"{self.name} is routed by {name!r}, which is not one of its arguments "
                    f"({', '.join(self._names) or 'it has none'})"
                )


def _check_function(name: str, function: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{name} is async, but commands are plain functions: a command has its partition to "
            f"itself while it runs, so it must not wait for anything. Do what needs waiting before "
            f"the call, or after the change is committed"
        )
    if inspect.isgeneratorfunction(function):
        raise TypeError(f"{name} is a generator; a command returns its result, as a list say")


def _hints(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"the annotations of {name} cannot be understood ({error}): define what they name at "
            f"the top of the module, above the command"
        ) from error


def _arguments_type(
    name: str, signature: inspect.Signature, hints: Mapping[str, Any]
) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f"{name}: *{parameter.name} has no place on the wire; name every argument"
            )
        kind = hints.get(parameter.name, Any)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, kind))
        else:
            fields.append((parameter.name, kind, _default(parameter.default)))
    try:
        return msgspec.defstruct(
            f"{name.replace('.', '_')}_arguments", fields, kw_only=True, forbid_unknown_fields=True
        )
    except TypeError as error:
        raise TypeError(f"the arguments of {name} cannot be understood: {error}") from error


def _default(value: Any) -> Any:
    """A default that a later call could change is copied for each call, unlike Python's own."""
    if isinstance(value, list | dict | set | bytearray):
        return msgspec.field(default_factory=value.copy)
    return value


def _in_words(error: Exception) -> str:
    text = str(error)
    for technical, plain in _WORDS:
        text = text.replace(technical, plain)
    return text
