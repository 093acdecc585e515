"""What a router holds: in all, of each client, for each unit."""

import pytest
from tupelo.errors import Overloaded
from tupelo_grid.config import GridConfig
from tupelo_grid.messaging.router_limits import Admission

CONFIG = GridConfig(
    router_frames_max=5,
    router_bytes_max=1000,
    router_client_frames_max=3,
    router_client_bytes_max=600,
    router_unit_frames_max=2,
    router_unit_bytes_max=300,
)


def test_one_client_leaves_room_for_others() -> None:
    held = Admission(CONFIG)
    for _ in range(3):
        held.enter("a", 10)
    with pytest.raises(Overloaded, match=r"3 calls of 30 bytes of this client.*client_frames_max"):
        held.enter("a", 10)
    held.enter("b", 600)
    with pytest.raises(Overloaded, match="router_client_bytes_max"):
        held.enter("b", 1)
    held.leave("a", 10)
    held.enter("a", 10)


def test_all_clients_together_are_bounded() -> None:
    held = Admission(CONFIG)
    for number in range(5):
        held.enter(str(number), 10)
    with pytest.raises(Overloaded, match=r"5 calls of 50 bytes for all .*start more routers"):
        held.enter("6", 10)
    held.leave("0", 10)
    held.enter("6", 10)
    for number in (1, 2, 3, 4, 6):
        held.leave(str(number), 10)
    held.enter("x", 600)
    with pytest.raises(Overloaded, match="for all its clients, and this one has 401"):
        held.enter("y", 401)
    held.enter("y", 400)


def test_one_unit_does_not_take_the_room_of_others() -> None:
    held = Admission(CONFIG)
    held.send("u1", 100)
    held.send("u1", 100)
    with pytest.raises(Overloaded, match=r"2 calls of 200 bytes wait for the unit at u1"):
        held.send("u1", 1)
    held.send("u2", 300)
    with pytest.raises(Overloaded, match="router_unit_bytes_max"):
        held.send("u2", 1)
    held.sent("u1", 100)
    held.send("u1", 200)


def test_who_holds_nothing_is_forgotten() -> None:
    held = Admission(CONFIG)
    held.enter("a", 10)
    held.send("u", 10)
    held.leave("a", 10)
    held.sent("u", 10)
    with pytest.raises(Overloaded):
        held.enter("b", 700)
    with pytest.raises(Overloaded):
        held.send("v", 700)
    assert (held.clients, held.units) == ({}, {})
    assert (held.all.frames, held.all.bytes) == (0, 0)
