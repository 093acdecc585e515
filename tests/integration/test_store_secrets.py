"""The way to the database is encrypted as its URL says, and its password shows nowhere."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tupelo_grid.cli.main import main
from tupelo_grid.config import GridConfig
from tupelo_grid.store.factory import make_store
from tupelo_grid.store.port import StoreAway, StoreError, StoreUnusable

from engines.postgres import PostgresServer, running_postgres

SECRET = "s3kret-of-the-store"


def certificates(folder: Path) -> Path:
    """A certificate of `localhost` alone, signed by itself; its key beside it."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "server.crt"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """With a password, and over TLS only."""
    with running_postgres(password=SECRET) as made:
        crt = certificates(made.folder)
        for path in (crt, crt.with_suffix(".key")):
            made.own(path)
        made.stop()
        rules = made.folder / "data" / "pg_hba.conf"
        rules.write_text("hostssl all all all scram-sha-256\n")
        made.settings |= {
            "ssl": "on",
            "ssl_cert_file": str(crt),
            "ssl_key_file": str(crt.with_suffix(".key")),
        }
        made.start()
        yield made


def url(server: PostgresServer, query: str = "", host: str = "localhost", user: str = "") -> str:
    query = f"?{query}" if query else ""
    return f"postgresql://{user or 'postgres'}@{host}:{server.port}/postgres{query}"


async def opened(config: GridConfig) -> str:
    store = make_store(config)
    try:
        await store.init({})
        return store.name
    finally:
        await store.close()


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text(f"{SECRET}\nnot this line\n")
    return str(path)


def change(file: str, password: str) -> None:
    Path(file).write_text(password)


@pytest.mark.parametrize("query", ["", "sslmode=require", "sslmode=verify-full&sslrootcert={}"])
async def test_encrypted_as_the_url_says(
    server: PostgresServer, password_file: str, query: str
) -> None:
    text = url(server, query.format(server.folder / "server.crt"))
    name = await opened(GridConfig(store_url=text, store_password_file=password_file))
    assert name == f"postgresql postgres@localhost:{server.port}/postgres"


@pytest.mark.parametrize(
    ("query", "host", "error"),
    [
        ("sslmode=disable", "localhost", StoreUnusable),
        ("sslmode=verify-full", "localhost", StoreAway),  # signed by nobody known
        ("sslrootcert={}", "127.0.0.1", StoreAway),  # the certificate is of localhost
    ],
)
async def test_what_the_url_does_not_allow_is_refused(
    server: PostgresServer, password_file: str, query: str, host: str, error: type[StoreError]
) -> None:
    text = url(server, query.format(server.folder / "server.crt"), host)
    with pytest.raises(error):
        await opened(GridConfig(store_url=text, store_password_file=password_file))


async def test_verify_ca_does_not_ask_for_the_name(
    server: PostgresServer, password_file: str
) -> None:
    query = f"sslmode=verify-ca&sslrootcert={server.folder / 'server.crt'}"
    text = url(server, query, "127.0.0.1")
    await opened(GridConfig(store_url=text, store_password_file=password_file))


async def test_a_password_that_changed_in_its_file_counts_at_the_next_connection(
    server: PostgresServer, password_file: str
) -> None:
    change(password_file, "wrong")
    config = GridConfig(store_url=url(server), store_password_file=password_file)
    store = make_store(config)
    with pytest.raises(StoreUnusable, match="password authentication failed"):
        await store.init({})
    change(password_file, SECRET)
    await store.init({})
    await store.close()


async def test_the_password_comes_from_the_environment_too(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    await opened(GridConfig(store_url=url(server)))


async def test_no_password_in_what_is_said(
    server: PostgresServer,
    password_file: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    change(password_file, "wrong-" + SECRET)
    said: list[str] = []
    inside = url(server).replace("postgres@", f"postgres:wrong-{SECRET}@")
    for config in (
        GridConfig(store_url=url(server), store_password_file=password_file),
        GridConfig(store_url=inside),
        GridConfig(store_url=inside + "?sslmode=disable"),
        GridConfig(store_url=inside + f"?password={SECRET}"),
        GridConfig(store_url=inside.replace("postgresql:", "mysql+pymysql:")),
        GridConfig(store_url=inside.replace("localhost", "no-such-host.invalid")),
        GridConfig(store_url=inside.replace(str(server.port), "port")),
    ):
        with pytest.raises(StoreError) as caught:
            await opened(config)
        error: BaseException | None = caught.value
        said.append(getattr(error, "hint", ""))
        while error is not None:
            said.append(f"{error} {error!r}")
            error = error.__cause__
    said.append(caplog.text)
    assert SECRET not in "\n".join(said)
    assert SECRET not in repr(make_store(GridConfig(store_url=inside))._backend.__dict__)


def test_the_command_line_takes_no_password(
    server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inside = url(server).replace("postgres@", f"postgres:{SECRET}@")
    for command in (["store", "init"], ["up", "--data-dir", str(tmp_path)]):
        assert main([*command, "--store-url", inside]) == 2
        assert main([*command, "--set", f"store_url={inside}"]) == 2
    monkeypatch.setenv("TUPELO_STORE_URL", inside)
    assert main(["store", "init", "--space", "carts"]) == 0
    assert main(["store", "init", "--space", "carts", "--json"]) == 0
    captured = capsys.readouterr()
    assert "table carts made for space carts" in captured.out
    assert '"actions": []' in captured.out
    assert SECRET not in captured.out + captured.err
    assert SECRET not in "".join(
        path.read_text() for path in tmp_path.rglob("*") if os.access(path, os.R_OK)
    )
