"""What can be declared in a processing unit, and what is refused with which words."""

import re
import uuid
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from tupelo.errors import ApplicationError
from tupelo.schema import FieldSchema, decode_schema, encode_schema
from tupelo.unit import Entry, ProcessingUnit, Space

Positive = Annotated[int, msgspec.Meta(ge=0)]


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Inner(msgspec.Struct, frozen=True):
    a: tuple[int, ...] = ()


class Everything(Entry, frozen=True):
    number: int
    text: str
    real: float
    raw: bytes
    flag: bool
    at: datetime
    day: date
    price: Decimal
    key: uuid.UUID
    colour: Colour
    level: Level
    side: Literal["a", "b"]
    amount: Positive
    maybe: int | None
    mixed: int | str
    inner: Inner
    tags: frozenset[str] = frozenset()
    anything: Any = None


class Seat(Entry, frozen=True):
    event: str
    number: int
    holder: str | None = None


def declare(unit: ProcessingUnit | None = None, **changes: Any) -> Space[Seat]:
    settings: dict[str, Any] = {"key": ("event", "number"), "route": "event", **changes}
    return (unit or ProcessingUnit("u")).space("seats", settings.pop("type", Seat), **settings)


def test_every_kind_of_field_has_its_column_type() -> None:
    space = ProcessingUnit("u").space("all", Everything, key="number")
    types = {field.name: field.type for field in space.schema.fields}
    assert types == {
        "number": "int",
        "text": "str",
        "real": "float",
        "raw": "bytes",
        "flag": "bool",
        "at": "datetime",
        "day": "date",
        "price": "decimal",
        "key": "uuid",
        "colour": "str",
        "level": "int",
        "side": "str",
        "amount": "int",
        "maybe": "int",
        "mixed": "json",
        "inner": "json",
        "tags": "json",
        "anything": "json",
    }
    optional = {field.name for field in space.schema.fields if field.optional}
    assert optional == {"maybe", "anything"}


def test_a_schema_survives_its_json() -> None:
    schema = declare(ttl_s=1.5, persist=False, coalesce=False).schema
    assert decode_schema(encode_schema(schema)) == schema
    assert schema.key == ("event", "number")
    assert schema.route == (0,)
    assert schema.ttl_ms == 1500
    assert schema.typed
    assert schema.fields[2] == FieldSchema("holder", "str", optional=True)


def test_a_space_without_a_route_routes_by_its_whole_key() -> None:
    space = declare(route=None)
    assert space.schema.route == ()
    assert space.route_fields == ("event", "number")
    assert declare(route=("number", "event")).route_fields == ("number", "event")


class Thawed(Entry, frozen=False):
    event: str
    number: int


class AsArray(Entry, frozen=True, array_like=True):
    event: str
    number: int


class Tagged(Entry, frozen=True, tag=True):
    event: str
    number: int


class Sparse(Entry, frozen=True, omit_defaults=True):
    event: str
    number: int


class Renamed(Entry, frozen=True, rename="upper"):
    event: str
    number: int


class Odd(Entry, frozen=True):
    event: str
    number: int
    function: Callable[[], None] | None = None


class FloatList(Entry, frozen=True):
    event: str
    number: tuple[int, ...]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"type": Thawed}, TypeError, "class Thawed(Entry, frozen=True)"),
        ({"type": AsArray}, TypeError, "leave array_like out"),
        ({"type": Tagged}, TypeError, "leave tag out"),
        ({"type": Sparse}, TypeError, "leave omit_defaults out"),
        ({"type": Renamed}, TypeError, "is renamed to 'EVENT'"),
        ({"type": Odd}, TypeError, "Odd.function has a type that cannot be stored"),
        ({"type": Inner}, TypeError, "not a subclass of tupelo.unit.Entry"),
        ({"type": FloatList}, TypeError, "must be one of int, float, str, bytes, bool"),
        ({"key": ()}, ValueError, "needs a key"),
        ({"key": ("event", "event")}, ValueError, "names a field twice"),
        ({"key": ("event", "seat")}, ValueError, "names 'seat', which Seat does not have"),
        ({"route": "holder"}, ValueError, "names 'holder', which is not in its key"),
        ({"route": ()}, ValueError, "at least one"),
        ({"ttl_s": 0}, ValueError, "must be above 0"),
        ({"ttl_s": float("nan")}, ValueError, "must be above 0"),
    ],
)
def test_a_wrong_space_is_refused(
    changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        declare(**changes)


def test_names_are_checked() -> None:
    for name in ("", "1st", "a b", "x#1", "a" * 65):
        with pytest.raises(ValueError, match="cannot name a processing unit"):
            ProcessingUnit(name)
    unit = ProcessingUnit("u")
    with pytest.raises(ValueError, match="cannot name a space"):
        unit.space("a/b", Seat, key="event")
    with pytest.raises(ValueError, match="every grid has"):
        unit.space("default", Seat, key="event")
    declare(unit)
    with pytest.raises(ValueError, match="twice"):
        declare(unit)


async def waits(event: str) -> None: ...


def without_arguments() -> None: ...


def many(event: str, *others: str) -> None: ...


def named(event: str, **others: str) -> None: ...


def yields(event: str) -> Any:
    yield event


@pytest.mark.parametrize(
    ("function", "route", "words"),
    [
        (waits, "event", "u.waits is async, but commands are plain functions"),
        (without_arguments, "event", "not one of its arguments (it has none)"),
        (without_arguments, (), "needs a route"),
        (many, "event", "*others has no place on the wire"),
        (named, "event", "*others has no place on the wire"),
        (yields, "event", "is a generator"),
    ],
)
def test_a_wrong_command_is_refused(
    function: Callable[..., Any], route: str | tuple[str, ...], words: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        ProcessingUnit("u").command(route=route)(function)


def test_a_command_knows_its_name_and_is_declared_once() -> None:
    unit = ProcessingUnit("u")

    @unit.command(route="event", read_only=True)
    def look(event: str, number: int = 1) -> int:
        """Looks."""
        return number

    assert (look.name, look.route, look.read_only) == ("u.look", ("event",), True)
    assert look.__doc__ == "Looks."
    assert look("e1") == 1
    assert dict(unit.commands) == {"u.look": look}
    with pytest.raises(ValueError, match=r"two commands u\.look"):
        unit.command(route="event")(look.__wrapped__)


def test_errors_are_declared_once_per_code() -> None:
    unit = ProcessingUnit("u")

    @unit.error
    class Taken(ApplicationError):
        pass

    assert unit.error(Taken) is Taken
    other = type("Taken", (ApplicationError,), {})
    with pytest.raises(ValueError, match="another error_code"):
        unit.error(other)
    with pytest.raises(TypeError, match="not a subclass"):
        unit.error(ValueError)  # type: ignore[type-var]
