"""The parts of the chaos tests: what they would overlook, they would not find."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import perf_counter
from typing import Any, cast

import pytest
from tupelo.codec import encode_key, partition_of
from tupelo.errors import ApplicationError, InvalidArgument, OutcomeUnknown, Overloaded

from tests.chaos.asking import Rotation, Tally, Worker
from tests.chaos.links import Links
from tests.chaos.models import BankModel, ThingModel
from tests.chaos.plan import KINDS, VICTIMS, Times, make_plan, make_rolling
from tests.chaos.pulses import Pulse, key_in
from tests.chaos.run import spread
from tests.chaos.verdict import judge
from tests.linearizability.checker import check_history
from tests.linearizability.history import NEVER, UNKNOWN, Op, Recorder

# -- the plan


def test_a_seed_is_a_plan():
    plan = make_plan(7, 30, Times())
    assert plan == make_plan(7, 30, Times())
    assert plan != make_plan(8, 30, Times())


def test_every_kind_comes_before_any_comes_again():
    kinds = [fault.kind for fault in make_plan(3, 2 * len(KINDS), Times())]
    assert set(Counter(kinds[: len(KINDS)]).values()) == {1}
    assert set(Counter(kinds).values()) == {2}


def test_pauses_are_drawn_around_the_times_of_the_protocol():
    times = Times(lease_s=3.0, silent_s=1.5)
    for fault in make_plan(5, 200, times):
        assert (fault.victim in VICTIMS) == KINDS[fault.kind].of_unit
        if fault.kind == "unit_pause_t":
            assert 1.0 < fault.hold_s < 2.0
        if fault.kind == "unit_pause_deposed":
            assert fault.hold_s > times.lease_s * (1 + times.margin) - 0.01
        assert (fault.delay_s > 0) == (fault.kind == "delay_unit")
        assert fault.kind in str(fault)


def test_only_known_kinds():
    assert {fault.kind for fault in make_plan(1, 5, Times(), ("scale",))} == {"scale"}
    with pytest.raises(ValueError, match="'earthquake'"):
        make_plan(1, 1, Times(), ("earthquake",))


def test_a_rolling_restart_takes_each_unit_in_turn():
    assert [fault.victim for fault in make_rolling(2)] == [*VICTIMS, *VICTIMS]


# -- clients


class Answers:
    """A worker without a grid."""

    def __init__(self) -> None:
        self.recorder = Recorder(perf_counter)
        self.tally = Tally()
        stop = asyncio.Event()
        nowhere = cast("Any", None)
        self.worker = Worker("w", nowhere, "s", self.recorder, self.tally, stop, 0.0, 0.0)

    async def ask(self, answer: object, parts: bool = False) -> object:
        async def call() -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        calls = [self.worker.invoke("k", "put", 1), self.worker.invoke("l", "put", 2)]
        return await self.worker.ask(calls, call(), 1.0, parts=parts)


async def test_what_a_client_hears_decides_what_its_history_says():
    answers = Answers()
    assert await answers.ask(5) == 5
    assert await answers.ask(OutcomeUnknown("?")) is UNKNOWN
    assert await answers.ask(Overloaded("full")) is UNKNOWN
    assert await answers.ask(Overloaded("full"), parts=True) is UNKNOWN
    refusal = ApplicationError("no")
    assert await answers.ask(refusal) is refusal
    tally = answers.tally
    assert (tally.acknowledged, tally.unknown, tally.failed) == (4, 4, 2)
    assert tally.operations == 10
    # Answers are recorded by whoever understands them, the unknown here, failures not at all.
    assert [op.unknown for op in answers.recorder.ops] == [True] * 4
    assert answers.recorder.failures == 2
    assert tally.problems == []


async def test_an_error_that_no_fault_explains_is_a_problem():
    answers = Answers()
    await answers.ask(InvalidArgument("nonsense"))
    assert "nonsense" in answers.tally.problems[0]


def test_keys_are_left_after_many_calls_or_few_unknown_outcomes():
    rotation = Rotation("r", calls_max=3, unknown_max=2)
    assert [rotation.take() for _ in range(4)] == ["r.0", "r.0", "r.0", "r.1"]
    rotation.unknown("r.0")
    rotation.unknown("r.1")
    assert rotation.take() == "r.1"
    rotation.unknown("r.1")
    assert rotation.take() == "r.2"
    assert rotation.names == ["r.0", "r.1", "r.2"]


def test_every_partition_has_a_pulse():
    for partition in range(16):
        assert partition_of(encode_key(key_in(partition, 16)), 16) == partition


# -- the judgement


class History:
    """Operations one after another, ten ticks each; `last` is what the end shows."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.ops: list[Op] = []

    def add(self, kind: str, *arguments: object, result: object, client: str = "c") -> History:
        start = 10.0 * len(self.ops)
        end = NEVER if result is UNKNOWN else start + 5
        self.ops.append(Op(client, self.key, kind, arguments, result, start, end))
        return self

    def last(self, kind: str, result: object) -> History:
        return self.add(kind, result=result, client="last")


GOOD = [
    History("register-0.0").add("put", "a", result=3).last("get", ("a", 3)),
    History("register-0.0").add("put", "a", result=3).add("put", "b", result=UNKNOWN)
    .last("get", ("b", 4)),
    History("register-0.0").add("put", "a", result=3).add("delete", result=(True, 4))
    .last("get", None),
    History("counter-0.0").add("add", 2, result=2).add("add", 3, result=UNKNOWN).last("read", 5),
    History("log-0.0").add("append", "x", result=1).last("read", ("x",)),
    History("thing-0.0").add("take", "ann", result=(True, "ann")).last("holder", "ann"),
    History("thing-0.0").add("take", "ann", result=(True, "ann"))
    .add("take", "bob", result=(False, "ann")).add("release", "ann", result=(True, ""))
    .last("holder", ""),
    History("bank-0.0").add("transfer", 0, 1, 30, result=(True, (70, 130)))
    .last("balances", (70, 130, 100, 100)),
]  # fmt: skip


@pytest.mark.parametrize("history", GOOD, ids=lambda history: history.key)
def test_what_is_right_passes(history):
    verdict = judge(history.ops)
    assert verdict.violations == []
    assert (verdict.linearizable, verdict.lost, verdict.duplicates) == (True, 0, 0)


BAD = [
    (History("register-0.0").add("put", "a", result=3).last("get", None), 1, 0),
    (
        History("register-0.0").add("put", "a", result=3).add("put", "b", result=4)
        .last("get", ("a", 3)), 1, 0,
    ),
    (
        History("register-0.0").add("put", "a", result=3).add("delete", result=(True, 4))
        .last("get", ("a", 3)), 1, 0,
    ),
    (History("counter-0.0").add("add", 2, result=2).last("read", 0), 1, 0),
    (History("counter-0.0").add("add", 2, result=2).last("read", 4), 0, 1),
    (History("log-0.0").add("append", "x", result=1).last("read", ()), 1, 0),
    (History("log-0.0").add("append", "x", result=1).last("read", ("x", "x")), 0, 1),
    (History("thing-0.0").add("take", "ann", result=(False, "ann")).last("holder", "ann"), 0, 0),
    (
        History("bank-0.0").add("transfer", 0, 1, 30, result=(True, (70, 130)))
        .last("balances", (70, 100, 100, 100)), 0, 0,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("history", "lost", "twice"), BAD)
def test_what_is_wrong_is_found(history, lost, twice):
    verdict = judge(history.ops)
    assert not verdict.linearizable
    assert (verdict.lost, verdict.duplicates) == (lost, twice)
    assert verdict.violations


def test_models_refuse_what_never_happened():
    doubled = History("bank-0.0").add("transfer", 0, 1, 30, result=(True, (40, 160)))
    assert check_history(doubled.ops, BankModel()).violation
    poor = History("bank-0.0").add("transfer", 0, 1, 101, result=(True, (-1, 201)))
    assert check_history(poor.ops, BankModel()).violation
    stolen = History("thing-0.0").add("release", "ann", result=(True, ""))
    assert check_history(stolen.ops, ThingModel()).violation


def test_percentiles_are_by_nearest_rank():
    assert spread([float(n) for n in range(1, 101)]) == {
        "p50": 50.0, "p99": 99.0, "max": 100.0, "n": 100
    }  # fmt: skip
    assert spread([2.0])["p99"] == 2.0


def test_a_pulse_that_is_not_there_is_seen():
    pulse = Pulse("k", value=5, version=9, unknown=(6,))
    assert pulse.lost(None)
    assert pulse.lost((5, 8))
    assert pulse.lost((4, 9))
    assert pulse.lost((4, 10))
    assert not pulse.lost((5, 9))
    assert not pulse.lost((6, 10))


# -- the network


class Echo(asyncio.Protocol):
    """Answers what it hears."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


@pytest.fixture
async def links():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    links = Links(lambda name: f"127.0.0.1:{port}")
    await links.listen(["a", "b"])
    yield links
    await links.close()
    server.close()


async def connect(links, way="a>b"):
    host, _, port = links.via[way].rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def echoed(reader, timeout_s=5.0):
    async with asyncio.timeout(timeout_s):
        return await reader.read(100)


async def broken(reader):
    try:
        return await echoed(reader) == b""
    except ConnectionError:
        return True


async def test_bytes_pass(links):
    assert set(links.via) == {"a>b", "b>a", "a>control", "b>control"}
    reader, writer = await connect(links)
    writer.write(b"hello")
    assert await echoed(reader) == b"hello"
    writer.close()


@pytest.mark.parametrize("gate", [("a", "b"), ("b", "a")])
async def test_a_cut_holds_bytes_back_and_healing_delivers_them(links, gate):
    reader, writer = await connect(links)
    writer.write(b"1")
    assert await echoed(reader) == b"1"
    links.gate(*gate).close()
    writer.write(b"2")
    with pytest.raises(TimeoutError):
        await echoed(reader, 0.05)
    links.heal()
    assert await echoed(reader) == b"2"
    writer.close()


async def test_other_directions_are_not_cut(links):
    links.gate("a", "control").close()
    reader, writer = await connect(links)
    writer.write(b"1")
    assert await echoed(reader) == b"1"
    writer.close()


async def test_a_delay_keeps_the_order(links):
    reader, writer = await connect(links)
    links.gate("a", "b").delay_s = 0.05
    started = perf_counter()
    for number in b"123":
        writer.write(bytes([number]))
    heard = b""
    while len(heard) < 3:
        heard += await echoed(reader)
    assert heard == b"123"
    assert perf_counter() - started >= 0.045
    writer.close()


async def test_a_reset_breaks_and_refuses_until_healed(links):
    reader, writer = await connect(links)
    writer.write(b"1")
    assert await echoed(reader) == b"1"
    links.gate("a", "b").reset()
    assert await broken(reader)
    other, _ = await connect(links)
    assert await broken(other)
    links.heal()
    reader, writer = await connect(links)
    writer.write(b"2")
    assert await echoed(reader) == b"2"
    writer.close()
