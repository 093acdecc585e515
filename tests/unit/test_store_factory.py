"""Stores that cannot be had: each with an error that says what to change, and no password."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.store.factory import make_store, may_create, store_url
from tupelo_grid.store.port import StoreUnusable


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a SQLAlchemy URL"),
        ("oracle2://ann:secret@db/x", "no database driver 'oracle2'"),
        ("postgresql+psycopg2://ann:secret@db/x", "psycopg2"),
        ("mssql+pyodbc://ann:secret@db/x", "pyodbc"),
        ("sqlite+aiosqlite:////tmp/x", "aiosqlite"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////tmp/x.sqlite?mode=ro", r"after '\?'"),
    ],
)
def test_urls_that_cannot_be_used(url: str, words: str) -> None:
    with pytest.raises(StoreUnusable, match=words) as caught:
        make_store(GridConfig(store_url=url))
    assert caught.value.hint
    assert isinstance(caught.value, FatalStartError)
    assert "secret" not in str(caught.value) + caught.value.hint


def test_a_bad_url_does_not_repeat_its_password() -> None:
    with pytest.raises(StoreUnusable) as caught:
        make_store(GridConfig(store_url="ann:secret@db"))
    assert "secret" not in str(caught.value) + caught.value.hint


def test_the_default_is_a_file_in_the_data_directory(tmp_path: Path) -> None:
    config = GridConfig(data_dir=str(tmp_path))
    assert store_url(config) == f"sqlite:///{tmp_path}/store.sqlite"
    assert make_store(config).name == f"sqlite {tmp_path}/store.sqlite"


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = make_store(GridConfig(store_url=f"sqlite:///{tmp_path}/file/below/store.sqlite"))
    with pytest.raises(StoreUnusable, match="cannot be made") as caught:
        await store.open()
    assert "--data-dir" in caught.value.hint
    await store.close()


async def test_a_store_file_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").mkdir()
    store = make_store(GridConfig(data_dir=str(tmp_path)))
    with pytest.raises(StoreUnusable, match="is a directory"):
        await store.open()
    await store.close()


@pytest.mark.parametrize("what", ["directory", "file"])
async def test_a_place_that_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The permission check is replaced, as tests may run as root, who may write anywhere."""
    path = tmp_path / "store.sqlite"
    path.touch()
    locked = str(tmp_path if what == "directory" else path)
    monkeypatch.setattr(os, "access", lambda place, mode: str(place) != locked)
    store = make_store(GridConfig(data_dir=str(tmp_path)))
    with pytest.raises(StoreUnusable, match=f"{what} {locked} is not writable"):
        await store.open()
    await store.close()


async def test_a_corrupt_file(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"this is no database" * 500)
    store = make_store(GridConfig(data_dir=str(tmp_path)))
    with pytest.raises(StoreUnusable, match="corrupt") as caught:
        await store.open()
    assert "backup" in caught.value.hint
    await store.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://ann:secret@db:5432", "names no database"),
        ("postgresql://ann:secret@/grid", "names no host"),
        ("postgresql://ann:secret@db/grid?password=secret", "unknown parameter 'password'"),
        ("postgresql://ann:secret@db/grid?sslmode=maybe", "sslmode 'maybe' is unknown"),
        (
            "postgresql://ann:secret@db/grid?sslmode=prefer&sslrootcert=/x",
            "prefer would not check the certificate",
        ),
        ("postgresql://ann:secret@db/grid?sslrootcert=/not/there", "cannot be used .*/not/there"),
    ],
)
def test_addresses_of_postgresql_that_cannot_be_used(url: str, words: str) -> None:
    with pytest.raises(StoreUnusable, match=words) as caught:
        make_store(GridConfig(store_url=url))
    assert caught.value.hint
    assert "secret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), ("\n", "is empty")])
def test_password_files_that_cannot_be_used(
    tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(StoreUnusable, match=words):
        make_store(GridConfig(store_url="postgresql://ann@db/grid", store_password_file=str(file)))


@pytest.mark.parametrize(
    ("url", "said", "may"),
    [
        ("", "", True),
        ("sqlite:////tmp/x", "", True),
        ("postgresql://db/grid", "", False),
        ("postgresql://db/grid", "auto", True),
        ("", "never", False),
    ],
)
def test_who_may_make_tables(url: str, said: str, may: bool) -> None:
    assert may_create(GridConfig(store_url=url, store_create=said)) is may  # type: ignore[arg-type]
