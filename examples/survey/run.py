"""`make run` and `make serve`: a real server and a real worker on this machine, and something to do.

Only the standard library is needed here. The server runs in `.venv`; the worker in `.venv-worker`, without
Flask or a database, in a folder of its own, and all it knows of the server is what `worker config`
wrote into `outsourced.yml`. What a run makes is below `instance/run/`, wiped at each start.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import Failed, Stop, Stopped, Supervised, attend, tail

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SERVER_BIN = ROOT / ".venv/bin"
WORKER_BIN = ROOT / ".venv-worker/bin"

WORKER = "phill.worker@okayfail.com"
QUEUE = "stuff_to_do"
#: polls that may be parked; there are threads to answer everything else besides
WAITERS = 4
GUNICORN = (
    *("--worker-class", "gthread", "--workers", "2", "--threads", "8"),
    *("--keep-alive", "75", "--graceful-timeout", "2", "--no-control-socket"),
)
#: what a run makes in its folder
MADE = ("environment", "server", "server.log", "worker", "worker.log")
#: seconds the server has to come up
STARTUP = 30.0
#: the port of `make serve`, unless another is named
SERVE_PORT = 8765

#: settings of the shell that would lead server or worker astray
MISLEADING = ("OUTSOURCED_", "FLASK_", "SURVEY_", "DATABASE_URL", "SECRET_KEY", "PYTHONPATH", "VIRTUAL_ENV")


def main() -> int:
    """Runs the survey, or serves; gives the exit code."""
    options = _parser().parse_args()
    stop = Stop()
    try:
        with _alone_in(options.folder):
            return Sample(stop, folder=options.folder, port=_port(options)).run(options)
    except Stopped:
        _say("stopped; nothing is left running")
        return 0 if options.serve else 130
    except Failed as failure:
        print(f"\n{_red('This does not work:')} {failure}", file=sys.stderr)
        return 1


class Sample:
    """The server, the worker, and the commands a person types."""

    def __init__(self, stop: Stop, *, folder: Path, port: int) -> None:
        self._stop = stop
        self._folder = folder
        self._port = port
        self.url = f"http://127.0.0.1:{port}/outsourced"
        self._environment = _clean_environment() | {
            "PATH": f"{SERVER_BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "FLASK_APP": str(HERE / "app.py"),
            "SURVEY_INSTANCE": str(folder / "server"),
            "DATABASE_URL": f"sqlite:///{folder / 'server/survey.sqlite'}",
            "SECRET_KEY": secrets.token_hex(32),
            "OUTSOURCED_MAX_WAITERS": str(WAITERS),
            # short, so that a survey does not wait long for what a killed worker held
            "OUTSOURCED_LEASE_TTL": "15s",
            "OUTSOURCED_HEARTBEAT_INTERVAL": "5s",
        }
        self._server = Supervised(
            "server",
            [
                SERVER_BIN / "gunicorn",
                *GUNICORN,
                "--bind",
                f"127.0.0.1:{port}",
                "app:create_app()",
            ],
            folder=HERE,
            environment=self._environment,
            log=folder / "server.log",
        )
        self._worker = Supervised(
            "worker",
            [WORKER_BIN / "outsourced_worker"],
            folder=folder / "worker",
            environment=_clean_environment(),
            log=folder / "worker.log",
        )

    def run(self, options: argparse.Namespace) -> int:
        """Sets all up, and does what the options say; whatever comes, ends what it started."""
        try:
            self._prepare()
            self._start()
            return self._serve() if options.serve else self._survey(options.sources)
        finally:
            self._worker.stop()
            self._server.stop()

    def _prepare(self) -> None:
        """Empty folders for both sides, and the commands that set a server up."""
        self._wipe()
        for side in ("server", "worker"):
            (self._folder / side).mkdir(parents=True)
        self._write_environment()
        config = self._folder / "worker/outsourced.yml"
        _headline("On the server: tables and keys, a worker, a queue, and who works it")
        self._flask("outsourcer", "init", self.url)
        self._flask("outsourcer", "worker", "create", WORKER)
        self._flask("outsourcer", "queue", "create", QUEUE)
        self._flask("outsourcer", "queue", "hire", WORKER)
        self._flask("outsourcer", "worker", "config", "-o", _shown(config), WORKER)

    def _wipe(self) -> None:
        """Removes what the last run made, and nothing else: the folder may be anybody's."""
        left = [path for name in MADE if (path := self._folder / name).exists()]
        if left:
            _say(f"wiping what the last run left in {_shown(self._folder)}/")
        for path in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _start(self) -> None:
        _headline("The server, and elsewhere a worker that knows no more than its outsourced.yml")
        self._server.start()
        self._await_server()
        _say(f"server   pid {self._server.pid}, {self.url}")
        shutil.copytree(HERE / "survey_tasks", self._folder / "worker/survey_tasks")
        _echo("outsourced_worker", folder=self._folder / "worker")
        self._worker.start()
        _say(f"worker   pid {self._worker.pid}, in a Python without Flask: {WORKER_BIN.parent.name}")

    def _await_server(self) -> None:
        """Waits until the server answers; raises Failed if it does not."""
        deadline = time.monotonic() + STARTUP
        while not _answers(f"http://127.0.0.1:{self._port}/"):
            if self._server.has_died() or time.monotonic() > deadline:
                log = self._server.log
                raise Failed(f"the server did not come up:\n\n{tail(log)}\n\nmore in {log}")
            self._stop.sleep()

    def _survey(self, folders: list[Path]) -> int:
        """One survey, watched to its end."""
        _headline("A job for every Python file, the file travelling as its attachment")
        command = ["flask", "survey", "start", *map(str, folders)]
        _echo(*command)
        producer = subprocess.Popen(
            [SERVER_BIN / command[0], *command[1:]], env=self._environment, start_new_session=True
        )
        code = attend(producer, self._stop, [self._server, self._worker], say=_alert)
        if code == 0:
            _say(f"\nLogs, database and files are in {_shown(self._folder)}/. To play with it: make serve")
        return code

    def _serve(self) -> int:
        """Leaves both running until Ctrl-C."""
        _headline("Both are running. In another terminal, in this folder:")
        for line in (
            f". {_shown(self._folder / 'environment')}",
            "flask survey start tests         # gives the worker something to do",
            "flask outsourcer job list        # what became of it",
            f"flask outsourcer worker lock {WORKER}      # nothing is handed out any more",
            f"flask outsourcer worker unlock {WORKER}",
            "flask outsourcer --help",
        ):
            print(f"  {_style('36', '$')} {line}")
        _say(f"\nLogs: {_shown(self._server.log)} and {_shown(self._worker.log)}. Ctrl-C ends both.")
        while True:
            self._stop.sleep()
            for process in (self._server, self._worker):
                process.revive(_alert)

    def _flask(self, *arguments: str) -> None:
        """Runs a command of the sample app in front of the reader; raises Failed if it fails."""
        _echo("flask", *arguments)
        process = subprocess.Popen(
            [SERVER_BIN / "flask", *arguments],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code = attend(process, self._stop, [], say=_alert)
        assert process.stdout is not None
        for line in process.stdout.read().decode(errors="replace").splitlines():
            print(f"    {_dim(line)}", flush=True)
        if code:
            raise Failed(f"`{shlex.join(['flask', *arguments])}` ended with exit code {code}: see above")

    def _write_environment(self) -> None:
        """What another terminal sources to work with this server."""
        file = self._folder / "environment"
        file.touch(mode=0o600)
        names = ("FLASK_APP", "SURVEY_INSTANCE", "DATABASE_URL", "SECRET_KEY")
        lines = [f"export {name}={shlex.quote(self._environment[name])}" for name in names]
        file.write_text("\n".join([*lines, f'export PATH={shlex.quote(str(SERVER_BIN))}:"$PATH"', ""]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "sources", nargs="*", type=_folder, help="what to survey; else this Python's own files"
    )
    parser.add_argument("--serve", action="store_true", help="leave server and worker running")
    parser.add_argument("--port", type=int, help="of the server; else a free one")
    parser.add_argument(
        "--folder",
        type=_path,
        default=ROOT / "instance/run",
        help="where server and worker keep their files; wiped at the start",
    )
    return parser


def _path(text: str) -> Path:
    return Path(text).expanduser().resolve()


def _folder(text: str) -> Path:
    folder = _path(text)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return folder


def _port(options: argparse.Namespace) -> int:
    """A port that is free now; raises Failed where a certain one is wanted and taken."""
    wanted = options.port or (SERVE_PORT if options.serve else 0)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            target = "serve" if options.serve else "run"
            raise Failed(f"port {wanted} cannot be had ({error.strerror}): make {target} PORT=…") from None
        return int(probe.getsockname()[1])


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Holds the folder for this run alone; raises Failed while another has it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another run uses {_shown(folder)}/: end it first (Ctrl-C there)") from None
        yield


def _shown(path: Path) -> str:
    """The path as a reader in the checkout types it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(MISLEADING)}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _headline(text: str) -> None:
    print(f"\n{_style('1', text)}", flush=True)


def _echo(*command: str, folder: Path | None = None) -> None:
    where = f"{_dim(_shown(folder))} " if folder else ""
    print(f"  {where}{_style('36', '$')} {shlex.join(command)}", flush=True)


def _say(text: str) -> None:
    print(f"  {text}" if not text.startswith("\n") else text, flush=True)


def _alert(text: str) -> None:
    """A line in the midst of another's progress bar."""
    clear_line = "\r\033[2K" if _IN_TERMINAL else ""
    print(f"{clear_line}{_style('33', text)}", flush=True)


_IN_TERMINAL = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _dim(text: str) -> str:
    return _style("2", text)


def _red(text: str) -> str:
    return _style("31", text)


def _style(number: str, text: str) -> str:
    return f"\033[{number}m{text}\033[0m" if _IN_TERMINAL else text


if __name__ == "__main__":
    sys.exit(main())
