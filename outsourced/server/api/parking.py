"""An exchange that may wait: parked until there is a job or a word for the worker, or its time is up."""

from __future__ import annotations

import random
import time
from dataclasses import replace

from outsourced.records import ExchangeReply, ExchangeRequest, WorkerIdentity
from outsourced.server.services import Services
from outsourced.server.wakeup import Waiter

#: seconds a poll that finds no place is sent away for: from, to
STAY_AWAY = (1.0, 5.0)


def exchange(services: Services, worker: WorkerIdentity, request: ExchangeRequest) -> ExchangeReply:
    """The reply, at once where it says anything; holds no database connection while it waits."""
    backend = services.backend
    if not request.wait:
        return backend.exchange(worker, request)
    queues = _queues(services, worker, request)
    # a place first, then the claim: what comes in between the two wakes us
    with services.wakeup.waiting(worker.name, request.instance.id, request.tasks, queues) as waiter:
        reply = backend.exchange(worker, request)
        if _says_something(reply):
            return reply
        if waiter.refused:
            return replace(reply, retry_after=random.uniform(*STAY_AWAY))
        return _park(services, worker, request, waiter)


def _park(
    services: Services, worker: WorkerIdentity, request: ExchangeRequest, waiter: Waiter
) -> ExchangeReply:
    """The reply once it says something, or an empty one; what the request reported is done already."""
    parked_at = time.monotonic()
    deadline = parked_at + min(request.wait, services.settings.poll_wait.total_seconds())
    claim = replace(request, outcomes=(), begun=(), held=None, progress=())
    while waiter.wait(max(0.0, deadline - time.monotonic())):
        waiter.queues = _queues(services, worker, request)
        waited = time.monotonic() - parked_at
        reply = services.backend.exchange(worker, claim)
        if _says_something(reply):
            return reply.delayed(waited)
    return ExchangeReply()


def _queues(services: Services, worker: WorkerIdentity, request: ExchangeRequest) -> frozenset[str]:
    return services.backend.queues_of(worker) if request.slots else frozenset()


def _says_something(reply: ExchangeReply) -> bool:
    return bool(reply.leases or reply.settled or reply.commands)
