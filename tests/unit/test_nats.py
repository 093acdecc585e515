"""What is pure of the NATS transport: names, division, parts, signs of life, settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tupelo_grid.cli.output import CliError
from tupelo_grid.cli.settings import load_config
from tupelo_grid.config import GridConfig
from tupelo_grid.core.pump_frames import PartitionBatch, PumpFrame
from tupelo_grid.messaging import nats_settings
from tupelo_grid.messaging.nats_beats import WRITERS_MAX, Beat, Roll, decode_beat, encode_beat
from tupelo_grid.messaging.nats_names import (
    GROUPS,
    Names,
    consumer_name,
    consumer_owner,
    divide,
    message_id,
)
from tupelo_grid.messaging.nats_parts import MESSAGE_ID, PART, Assembler, BadPart, split
from tupelo_grid.messaging.nats_settings import PASSWORD_VARIABLE, check_settings, login
from tupelo_grid.runtime.errors import FatalStartError

GRID = bytes(range(16))
writers = st.sets(st.text("abc-123", min_size=1, max_size=8), max_size=40)


def test_each_partition_has_a_subject_in_its_group() -> None:
    names = Names(GRID)
    subjects = [names.partition(number) for number in range(4096)]
    assert len(set(subjects)) == 4096
    for number, subject in enumerate(subjects):
        assert subject.startswith(names.group(number % GROUPS).removesuffix("*"))
        assert subject.startswith(names.stored.removesuffix(">"))
    assert Names(b"x" * 16).stream != names.stream


def test_units_with_odd_names_have_answers_of_their_own() -> None:
    names = Names(GRID)
    found = [names.answers(name) for name in ("u#1", "u=23=1", "u.1", "u 1", "u*1", "u>1", "ü#1")]
    assert len(set(found)) == len(found)
    for subject in found:
        assert subject.count(".") == 3
        assert not set(subject) & set(" *>")


def test_a_message_is_known_by_partition_epoch_sequences_and_attempt() -> None:
    batch = PartitionBatch(7, 3, 10, 20, [])
    assert message_id(PumpFrame(5, [], [batch]), "run") == "7.3.10-20.run5"
    assert message_id(PumpFrame(6, [(7, 3)], []), "run") == "7.3.0-0.run6"
    # Sent again after the writers asked for it: no repetition, or it would be passed over.
    assert message_id(PumpFrame(8, [], [batch]), "run") == "7.3.10-20.run8"


@given(writers)
def test_groups_are_divided_evenly_and_the_same_for_all(names: set[str]) -> None:
    shares = divide(names)
    assert shares == divide(sorted(names, reverse=True))
    if not names:
        assert shares == {}
        return
    assert set(shares) == set(range(GROUPS))
    counts = [list(shares.values()).count(name) for name in names]
    assert max(counts) <= -(-GROUPS // len(names))


def test_a_writer_that_dies_moves_little_but_its_own() -> None:
    names = {f"writer-{n}" for n in range(4)}
    before, after = divide(names), divide(names - {"writer-2"})
    moved = {group for group in before if before[group] != after[group]}
    own = {group for group, name in before.items() if name == "writer-2"}
    assert own <= moved
    assert len(moved - own) <= GROUPS // 4


def test_a_consumer_tells_its_owner() -> None:
    assert consumer_owner(consumer_name(31, 7, "writer-1-0a1b")) == "writer-1-0a1b"
    assert consumer_owner("somebody") == ""


@given(st.binary(max_size=200), st.integers(1, 60), st.randoms())
def test_parts_are_put_together_in_any_order(data: bytes, size: int, random: object) -> None:
    parts = split(data, "id", size)
    assert all(len(piece) <= size for _, piece in parts)
    assert len({headers[MESSAGE_ID] for headers, _ in parts}) == len(parts)
    random.shuffle(parts)  # type: ignore[attr-defined]
    assembler: Assembler[int] = Assembler()
    for at, (headers, piece) in enumerate(parts):
        whole, messages, given_up = assembler.add("subject", headers, piece, at)
        assert given_up == []
        assert (whole is None) == (at < len(parts) - 1)
    assert whole == data
    assert messages == list(range(len(parts)))


def test_parts_of_a_frame_that_was_given_up_are_handed_back() -> None:
    assembler: Assembler[str] = Assembler()
    first, second = split(b"aabb", "1", 2), split(b"ccdd", "2", 2)
    assert assembler.add("s", *first[0], "a0") == (None, [], [])
    assert assembler.add("other", *second[0], "o0") == (None, [], [])
    assert assembler.add("s", *first[0], "again") == (None, [], [])
    assert assembler.add("s", *second[1], "c1") == (None, [], ["a0", "again"])
    assert assembler.add("s", *second[0], "c0") == (b"ccdd", ["c1", "c0"], [])
    assert assembler.add("other", {MESSAGE_ID: "3"}, b"whole", "w") == (b"whole", ["w"], ["o0"])


def test_parts_whose_sender_is_gone_are_let_go() -> None:
    assembler: Assembler[str] = Assembler()
    first, second = split(b"aabb", "1", 2), split(b"ccdd", "2", 2)
    assembler.add("s", *first[0], "a0")
    assembler.add("t", *second[0], "c0")
    assert assembler.grow_older() == assembler.grow_older() == []
    assert assembler.add("t", *second[0], "once more") == (None, [], [])
    assert assembler.grow_older() == ["a0"]
    assert assembler.add("t", *second[1], "c1")[0] == b"ccdd"
    assert assembler.add("s", *first[1], "a1")[0] is None


@pytest.mark.parametrize("part", ["", "1", "2/2", "-1/2", "0/0", "a/b", "0/4097", "1" * 40])
def test_parts_that_make_no_sense_are_refused(part: str) -> None:
    with pytest.raises(BadPart):
        Assembler[int]().add("s", {PART: part}, b"", 0)


def test_who_is_silent_takes_no_part_any_more() -> None:
    roll = Roll(1.0)
    assert roll.error(0.0) == "no data writer was heard of for 1 s"
    assert roll.hear(Beat("a"), 0.0)
    assert roll.hear(Beat("b", error="away"), 0.5)
    assert not roll.hear(Beat("a"), 0.9)
    assert [beat.writer for beat in roll.live(1.4)] == ["a", "b"]
    assert roll.error(1.4) == "away"
    assert [beat.writer for beat in roll.live(1.8)] == ["a"]
    assert roll.error(1.8) == ""
    assert roll.hear(Beat("a", leaving=True), 1.8)
    assert roll.live(1.8) == []


def test_a_roll_is_bounded() -> None:
    roll = Roll(1.0)
    for number in range(WRITERS_MAX + 5):
        roll.hear(Beat(str(number)), 0.0)
    assert len(roll.live(0.0)) == WRITERS_MAX


@pytest.mark.parametrize("data", [b"", b"no json", b"[]", b'{"writer": 1}', b"{}"])
def test_what_is_no_beat_is_none(data: bytes) -> None:
    assert decode_beat(data) is None


def test_beats_are_read_as_they_were_sent() -> None:
    beat = Beat("w", True, False, "away", "sqlite", 5, 2)
    assert decode_beat(encode_beat(beat)) == beat


def test_a_password_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "from-environment")
    file = tmp_path / "secret"
    file.write_text("from-file\nnot this\n")
    environment = GridConfig(nats_user="u")
    assert login(environment) == {"user": "u", "password": "from-environment"}
    assert login(GridConfig()) == {"token": "from-environment"}
    config = GridConfig(nats_user="u", nats_password_file=str(file))
    assert login(config) == {"user": "u", "password": "from-file"}
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert login(GridConfig()) == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"nats_url": "nats://me:hidden@host:4222"}, "has a user or password in it"),
        ({"nats_url": "http://host"}, "no address of a NATS server"),
        ({"nats_url": "nats://a:1, host:2"}, "no address of a NATS server"),
        ({"nats_ca_file": "/nowhere/ca.pem"}, "cannot be read"),
    ],
)
def test_wrong_settings_are_refused_without_showing_secrets(
    settings: dict[str, str], words: str
) -> None:
    with pytest.raises(FatalStartError) as caught:
        check_settings(GridConfig(**settings))  # type: ignore[arg-type]
    assert words in caught.value.message
    assert "hidden" not in f"{caught.value.message} {caught.value.hint}"
    with pytest.raises(CliError) as refused:
        load_config({"pump_transport": "nats", **settings}, environment={})
    assert words in refused.value.message


def test_a_creds_file_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "user.creds"
    file.write_text("")
    monkeypatch.setattr(nats_settings, "find_spec", lambda name: None)
    with pytest.raises(FatalStartError, match="nkeys"):
        check_settings(GridConfig(nats_creds_file=str(file)))


def test_writers_of_their_own_need_nats() -> None:
    with pytest.raises(CliError, match="pump_transport=nats"):
        load_config({"writers": 2}, environment={})
    with pytest.raises(CliError, match="0 to 32"):
        load_config({"writers": 33, "pump_transport": "nats"}, environment={})
    assert load_config({"writers": 2, "pump_transport": "nats"}, environment={}).writers == 2
