"""Rows of the store give back the exact bytes of every key and value, or refuse them."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tupelo.schema import FieldSchema, SpaceSchema
from tupelo_grid.store.fields import SQLITE_CODECS, Unfit
from tupelo_grid.store.mapping import make_mapping
from tupelo_grid.store.naming import database_name
from tupelo_grid.store.sqlite import SqliteBackend
from tupelo_grid.store.tables import select_text

encode = msgspec.msgpack.encode


class Everything(msgspec.Struct, frozen=True):
    """One field of each type; all but the key optional."""

    id: int
    name: str
    number: int | None
    ratio: float | None
    text: str | None
    raw: bytes | None
    flag: bool | None
    at: datetime.datetime | None
    local: datetime.datetime | None
    day: datetime.date | None
    price: decimal.Decimal | None
    token: uuid.UUID | None
    doc: Any


SCHEMA = SpaceSchema(
    "everything",
    key=("name", "id"),
    fields=tuple(
        FieldSchema(name, kind)
        for name, kind in {
            "id": "int",
            "name": "str",
            "number": "int",
            "ratio": "float",
            "text": "str",
            "raw": "bytes",
            "flag": "bool",
            "at": "datetime",
            "local": "datetime",
            "day": "date",
            "price": "decimal",
            "token": "uuid",
            "doc": "json",
        }.items()
    ),
)
MAPPING = make_mapping(SCHEMA, SQLITE_CODECS)

ints = st.integers(-(2**63), 2**63 - 1)
zones = st.sampled_from(
    [datetime.UTC, datetime.timezone(datetime.timedelta(hours=-9, minutes=-30))]
)
early, late = datetime.datetime(1, 1, 3), datetime.datetime(9999, 12, 29)
documents = st.recursive(
    st.none() | st.booleans() | ints | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
everything = st.builds(
    Everything,
    id=ints,
    name=st.text(),
    number=st.none() | ints,
    ratio=st.none() | st.floats(),
    text=st.none() | st.text(),
    raw=st.none() | st.binary(),
    flag=st.none() | st.booleans(),
    at=st.none() | st.datetimes(early, late, timezones=zones),
    local=st.none() | st.datetimes(early, late),
    day=st.none() | st.dates(),
    price=st.none() | st.decimals(),
    token=st.none() | st.uuids(),
    doc=documents,
)


class Table:
    """A real SQLite table of a mapping, so that what the database does to a value is tested too."""

    def __init__(self, tmp_path: Any, schema: SpaceSchema) -> None:
        backend = SqliteBackend(tmp_path / "unused.sqlite", 1.0)
        self.mapping = make_mapping(schema, SQLITE_CODECS)
        self.put = backend.writes(self.mapping.table, {}).put
        self.connection = sa.create_engine("sqlite://").connect()
        self.mapping.table.create(self.connection)
        self.select = select_text(self.mapping.select(), backend.dialect)

    def through(self, key: bytes, value: bytes, version: int = 5, deadline: int = 0) -> Any:
        name = self.mapping.table.name
        self.connection.exec_driver_sql(f'DELETE FROM "{name}"')
        row = self.mapping.row(key, value, version, 3, deadline)
        self.put(self.connection, [row])
        [stored] = self.connection.exec_driver_sql(f'SELECT * FROM "{name}"').fetchall()
        assert tuple(stored) == row
        [read] = self.connection.exec_driver_sql(self.select).fetchall()
        return self.mapping.entry(tuple(read))


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return Table(tmp_path_factory.mktemp("typed"), SCHEMA)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return Table(tmp_path_factory.mktemp("document"), SpaceSchema("default"))


@given(entry=everything, deadline=st.integers(0, 2**60))
@settings(max_examples=60, deadline=None)
def test_a_typed_entry_comes_back_exactly(typed: Table, entry: Everything, deadline: int) -> None:
    key, value = encode([entry.name, entry.id]), encode(entry)
    assert typed.through(key, value, 5, deadline) == (key, value, 5, deadline)


def test_a_plain_entry_needs_no_copy_of_its_bytes() -> None:
    entry = Everything(
        id=7,
        name="ä\0b",
        number=-5,
        ratio=0.5,
        text="",
        raw=b"\0",
        flag=False,
        at=datetime.datetime(2013, 11, 27, 9, 30, 0, 123456, datetime.UTC),
        local=datetime.datetime(2013, 11, 27, 9, 30),
        day=datetime.date(2013, 11, 27),
        price=decimal.Decimal("1.20"),
        token=uuid.UUID(int=5),
        doc={"seats": [1, 2.5, None, "x"]},
    )
    row = MAPPING.row(encode(["ä\0b", 7]), encode(entry), 1, 2, 0)
    columns = dict(zip(MAPPING.table.columns.keys(), row, strict=True))
    assert columns["tupelo_value"] is None
    assert columns["at"] == "2013-11-27T09:30:00.123456+00:00"
    assert columns["day"] == "2013-11-27"
    assert columns["price"] == "1.20"
    assert columns["doc"] == '{"seats":[1,2.5,null,"x"]}'
    assert columns["flag"] == 0


@given(value=documents, key=st.none() | st.booleans() | ints | st.text() | st.binary())
@settings(max_examples=100, deadline=None)
def test_an_untyped_entry_comes_back_exactly(document: Table, value: Any, key: Any) -> None:
    wire = encode(key), encode(value)
    assert document.through(*wire) == (*wire, 5, 0)


@given(key=st.binary(max_size=12), value=st.binary(max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_bytes_come_back_or_are_refused(
    typed: Table, document: Table, key: bytes, value: bytes
) -> None:
    assert document.through(key, value)[:2] == (key, value)
    try:
        back = typed.through(key, value)
    except Unfit:
        return
    assert back[:2] == (key, value)


@pytest.mark.parametrize(
    "other",
    [
        {"id": 1, "name": "n"},  # an older writer, without the newer fields
        {"name": "n", "id": 1, "number": 1},  # another order
        {"id": 1, "name": "n", "colour": "red"},  # a field the schema does not know
        {"id": 2, "name": "other"},  # not its own key
        {"id": 1, "name": "n", "ratio": 3},  # an integer in a float field
        {"id": 1, "name": "n", "ratio": -0.0},
        {"id": 1, "name": "n", "at": "2013-11-27T10:00:00Z"},
        {"id": 1, "name": "n", "token": uuid.UUID(int=5).bytes},
        {"id": 1, "name": "n", "price": 1.5},
        {"id": 1, "name": "n", "doc": {"blob": b"x"}},
    ],
)
def test_values_of_other_encoders_come_back_exactly(typed: Table, other: dict[str, Any]) -> None:
    key, value = encode(["n", 1]), encode(other)
    assert typed.through(key, value)[:2] == (key, value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": 2**63}, "field 'number': integer 9223372036854775808 does not fit"),
        ({"number": True}, "expected int, got bool"),
        ({"number": "7"}, "expected int, got str"),
        ({"text": 7}, "expected str, got int"),
        ({"raw": "x"}, "expected bytes"),
        ({"flag": 1}, "expected bool"),
        ({"ratio": "x"}, "expected float"),
        ({"at": "noon"}, "expected datetime"),
        ({"at": 5}, "expected datetime"),
        ({"day": "noon"}, "expected date"),
        ({"price": "dear"}, "expected decimal"),
        ({"token": "me"}, "expected UUID"),
    ],
)
def test_values_of_a_wrong_type_are_refused(change: dict[str, Any], words: str) -> None:
    value = encode({"id": 1, "name": "n", **change})
    with pytest.raises(Unfit, match=words):
        MAPPING.row(encode(["n", 1]), value, 1, 0, 0)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (encode("n"), "array of 2"),
        (encode(["n"]), "array of 2"),
        (encode([1, "n"]), "key field 'name': expected str"),
        (encode(["n", None]), "key field 'id' has no value"),
        (encode(["n", 2**63]), "key field 'id': integer"),
        (b"\x92\xa1n\xd0\x01", "does not come back"),  # 1 in two bytes
        (b"\xc1", "the key is not MessagePack"),
        (b"", "the key is not MessagePack"),
    ],
)
def test_keys_that_no_primary_key_can_hold_are_refused(key: bytes, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        MAPPING.key_columns(key)


@pytest.mark.parametrize("value", [b"\xc1", b"", encode([1]), b"\x91" * 100_000])
def test_values_that_are_no_map_are_refused(value: bytes) -> None:
    with pytest.raises(Unfit):
        MAPPING.row(encode(["n", 1]), value, 1, 0, 0)


def test_names_stay_where_they_can_and_never_meet() -> None:
    assert database_name("seats") == "seats"
    assert database_name("a-b.c_1") == "a-b.c_1"
    names = ["Carts", "carts", "CARTS", "tupelo_meta", "Tupelo_meta", "sqlite_x", "x" * 63]
    names += ["x" * 64, "x" * 65, "ä" * 40, "Ä" * 40]
    made = [database_name(name) for name in names]
    assert len({name.lower() for name in made}) == len(names)
    assert all(len(name.encode()) <= 63 for name in made)
    assert not any(name.startswith(("tupelo_", "sqlite_", "pg_")) for name in made)


def test_odd_field_names_get_columns(tmp_path: Any) -> None:
    names = ["Name", "name", "tupelo_version", "order", "quo'te", "50%", "tupelo_value"]
    schema = SpaceSchema(
        "odd space.x", key=("Name", "order"), fields=tuple(FieldSchema(n, "str") for n in names)
    )
    table = Table(tmp_path, schema)
    key, value = encode(["N", "o"]), encode({n: n[:1] for n in names})
    assert table.through(key, value) == (key, value, 5, 0)
