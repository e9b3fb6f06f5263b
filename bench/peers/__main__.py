"""`make bench-peers`: other queues beside ours, on this machine, each with two workers.

Rounds are interleaved, figures are medians. A job adds one byte to a file, and no figure is believed
unless all jobs ran exactly once. Each peer has the settings its documentation recommends for many short
jobs; those without a call that enqueues many have none in that column. What CPU brokers and databases
use is not counted for anyone. What isn't installed, or whose service doesn't run, is left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.deployment import POOLS, Deployment
from bench.measuring import cpu, wait_until
from bench.peers import settings
from bench.peers.contenders import BIN, Contender, LeftOut, Ours, Peer
from bench.peers.report import Figures, print_report
from tests.databases import PostgresTemplate, postgres_server

PEERS = (
    "celery_redis",
    "celery_rabbitmq",
    "rq_redis",
    "dramatiq_redis",
    "huey_redis",
    "procrastinate_postgresql",
    "pgqueuer_postgresql",
)


def main() -> None:
    options = _options()
    figures: Figures = {}
    with _contenders(options) as contenders:
        for number in range(options.rounds):
            for contender in contenders:
                print(f"round {number + 1}: {contender.name}", flush=True)
                for figure, value in _measure(contender, options).items():
                    figures.setdefault(contender.name, {}).setdefault(figure, []).append(value)
    print_report(figures, rounds=options.rounds, jobs=options.single + options.bulk)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-peers ARGS=…", description=__doc__)
    parser.add_argument("--single", type=int, default=1_000, help="jobs enqueued one at a time")
    parser.add_argument("--bulk", type=int, default=9_000, help="jobs enqueued at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers", nargs="*", default=PEERS, choices=PEERS, metavar="PEER", help=", ".join(PEERS)
    )
    return parser.parse_args()


def _measure(contender: Contender, options: argparse.Namespace) -> dict[str, float]:
    """Fills it, then drains it: from the first job done to the last; the workers' start isn't counted."""
    before = contender.done()
    seconds = contender.fill(options.single, options.bulk)
    figures = {"single": (options.single - 1) / (seconds["single"] or 1)}
    if seconds["bulk"] is not None:
        figures["bulk"] = options.bulk / seconds["bulk"]
    total = before + options.single + options.bulk
    with contender.workers() as processes:
        first = wait_until(lambda: contender.done() > before, look=0.01)
        spent, done_first = -cpu(*processes), contender.done()
        last = wait_until(lambda: contender.done() >= total, look=0.01)
        spent += cpu(*processes)
    contender.settle()
    jobs = total - done_first
    return figures | {"drain": jobs / (last - first), "cpu": spent / jobs * 1e6}


@contextmanager
def _contenders(options: argparse.Namespace) -> Iterator[list[Contender]]:
    """All that can run here, each on a queue or a database of its own, removed afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        template = PostgresTemplate(stack.enter_context(postgres_server()))
        stack.callback(template.drop)
        (folder / "ours.tally").touch()
        os.environ["BENCH_TALLY"] = str(folder / "ours.tally")
        deployment = Deployment(folder, stack.enter_context(template.copy()))
        stack.enter_context(deployment.app.app_context())
        server = stack.enter_context(deployment.server())
        found: list[Contender] = [Ours(deployment, server, pool) for pool in POOLS]
        for module in options.peers:
            found += _peer(module, folder, template, stack)
        yield found


def _peer(module: str, folder: Path, template: PostgresTemplate, stack: ExitStack) -> list[Contender]:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": "."}
    environment["BENCH_QUEUE"] = f"{settings.QUEUE}-{os.getpid()}"
    if module.endswith("postgresql"):
        environment["BENCH_POSTGRESQL"] = stack.enter_context(template.copy()).replace("+psycopg", "")
    try:
        peer = Peer(module, folder, environment)
    except LeftOut as reason:
        print(f"left out: {module}: {reason}")
        return []
    stack.callback(peer.clean)
    return [peer]


if __name__ == "__main__":
    main()
