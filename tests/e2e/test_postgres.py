"""A grid on PostgreSQL: tables by command, write-behind, and back from it after a shutdown."""

from __future__ import annotations

from pathlib import Path

import tupelo

from engines.postgres import running_postgres
from tests.e2e.grids import ROOT, Grid, free_port
from tests.e2e.grids import tupelo as run

AIRLINE = ROOT / "processing-units" / "airline"
SECRET = "s3kret-of-the-store"


async def test_a_grid_on_postgresql(tmp_path: Path) -> None:
    with running_postgres(password=SECRET) as server:
        secret = tmp_path / "password"
        secret.write_text(SECRET)
        where = ("--store-url", server.url, "--set", f"store_password_file={secret}")
        spaces = ("--unit", AIRLINE, "--space", "carts")
        data = tmp_path / "grid"
        up = ("up", "--detach", "--port", free_port(), "--data-dir", data)
        refused = run(*up, *where, *spaces)
        assert refused.returncode == 2
        assert "tupelo store init" in refused.stderr
        made = run("store", "init", *where, *spaces)
        assert made.returncode == 0, made.stderr
        assert "table seats made for space seats" in made.stdout
        grid = Grid.start(data, *map(str, (*where, *spaces)))
        try:
            assert f"postgresql postgres@127.0.0.1:{server.port}/postgres" in str(grid.status())
            async with tupelo.connect(grid.address) as client:
                carts = client.space("carts")
                await carts.put_many({number: {"items": number} for number in range(2000)})
                await carts.delete(7)
                last = await carts.put(8, "newest")
        finally:
            grid.stop()
        assert server.execute("SELECT count(*) AS n FROM carts")[0]["n"] == 1999
        grid = Grid.start(data, *map(str, (*where, *spaces)))
        try:
            async with tupelo.connect(grid.address) as client:
                carts = client.space("carts")
                entry = await carts.entry(8)
                assert entry is not None
                assert (entry.value, entry.version) == ("newest", last.version)
                assert await carts.get(7) is None
                assert await carts.count() == 1999
        finally:
            grid.stop()
    said = [path for path in data.rglob("*") if path.is_file()]
    assert not [path for path in said if SECRET.encode() in path.read_bytes()]
