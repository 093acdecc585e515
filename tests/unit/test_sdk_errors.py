"""The errors of commands, as they come back."""

from __future__ import annotations

import re

import msgspec
import pytest
from tupelo import errors
from tupelo.calls import application_error
from tupelo.errors import ApplicationError, TupeloError


class SeatTaken(ApplicationError):
    def __init__(self, event: str, number: int) -> None:
        super().__init__(f"seat {number} is taken", event=event, number=number)


def wire(code: str) -> bytes:
    return msgspec.msgpack.encode([code, "seat 7 is taken", {"event": "e1", "number": 7}])


def test_an_error_keeps_its_fields_and_gives_them_as_attributes() -> None:
    error = SeatTaken("e1", 7)
    assert error.error_code == "SeatTaken"
    assert error.fields == {"event": "e1", "number": 7}
    assert (error.event, error.number, str(error)) == ("e1", 7, "seat 7 is taken")
    with pytest.raises(AttributeError, match="'holder'"):
        _ = error.holder


def test_a_known_error_comes_back_as_its_class_and_another_as_the_base() -> None:
    known = application_error(wire("SeatTaken"), {"SeatTaken": SeatTaken})
    assert isinstance(known, SeatTaken)
    assert known.number == 7
    other = application_error(wire("Sold"), {"SeatTaken": SeatTaken})
    assert type(other) is ApplicationError
    assert (other.error_code, other.message) == ("Sold", "seat 7 is taken")
    assert str(other) == "Sold: seat 7 is taken", "nothing else shows which error it is"


def test_an_error_that_cannot_be_read_is_still_an_application_error() -> None:
    assert "cannot be read" in application_error(b"\xc1", {}).message


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    (\|?[ |]*)?(\+-- )?(\w+)", line)
        if found is None or not hasattr(errors, found[3]):
            continue
        depth = (len(found[1] or "") + len(found[2] or "")) // 4
        path[depth:] = [found[3]]
        drawn[found[3]] = path[depth - 1] if depth else "Exception"
    real = {
        name: kind.__bases__[0].__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, TupeloError)
    }
    assert drawn == real
