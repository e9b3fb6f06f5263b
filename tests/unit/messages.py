"""Messages of the protocol to start from: good ones, as records and as trees of JSON."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from outsourced.records import (
    Changed,
    Command,
    CommandKind,
    ExchangeReply,
    ExchangeRequest,
    Failure,
    Held,
    Instance,
    JsonText,
    Lease,
    Outcome,
    OutcomeKind,
    Owner,
    Progress,
    Settled,
    SettledStatus,
    StoredFile,
    Told,
)


def an_id(number: int) -> UUID:
    return UUID(int=number)


def a_request() -> ExchangeRequest:
    """Everything a worker can say, at once."""
    now = time.monotonic()
    return ExchangeRequest(
        instance=Instance(id=an_id(1), host="site-42", pid=17, version="0.1.0"),
        claim_id=an_id(2),
        slots=10,
        wait=25.0,
        tasks=("myapp.add", "myapp.render"),
        held=(
            Held(lease_id=an_id(3), job_id=an_id(4)),
            Held(lease_id=an_id(5), job_id=an_id(6), begun_at=now),
        ),
        begun=(Held(lease_id=an_id(5), job_id=an_id(6), begun_at=now - 2),),
        outcomes=(
            Outcome(
                lease_id=an_id(7),
                job_id=an_id(8),
                kind=OutcomeKind.COMPLETED,
                result='{"sum":3}',
                ran_for=0.5,
                ended_at=now - 1,
            ),
            Outcome(
                lease_id=an_id(9),
                job_id=an_id(10),
                kind=OutcomeKind.RETRY,
                error=Failure(type="ValueError", message="no", traceback="…", causes=(("KeyError", "'a'"),)),
                delay=30.0,
                max_retries=5,
                ran_for=0.25,
                reason="try later",
                changes=Changed(payload='{"args":[2],"kwargs":{}}', priority=-1, expires_in=60.0),
            ),
        ),
        progress=(
            Told(
                lease_id=an_id(5),
                job_id=an_id(6),
                number=3,
                progress=Progress(state="PROGRESS", meta='{"current":1,"total":9}'),
            ),
        ),
    )


def a_request_tree() -> dict[str, Any]:
    """The same, as JSON: the ids are numbered as above."""
    return {
        "instance": {"id": str(an_id(1)), "host": "site-42", "pid": 17, "version": "0.1.0"},
        "claim_id": str(an_id(2)),
        "slots": 10,
        "wait": 25,
        "tasks": ["myapp.add"],
        "held": [{"lease_id": str(an_id(3)), "job_id": str(an_id(4)), "begun_ago": 1.5}],
        "begun": [{"lease_id": str(an_id(5)), "job_id": str(an_id(6))}],
        "outcomes": [
            {
                "lease_id": str(an_id(7)),
                "job_id": str(an_id(8)),
                "kind": "failed",
                "result": {"sum": 3},
                "error": {"type": "E", "message": "m", "traceback": "t", "causes": [["C", "c"]]},
                "delay": 1,
                "max_retries": 3,
                "ran_for": 0.5,
                "ended_ago": 0.1,
                "reason": "r",
                "changes": {"payload": {"args": [1], "kwargs": {}}, "priority": 1, "expires_in": 5},
            }
        ],
        "progress": [
            {
                "lease_id": str(an_id(5)),
                "job_id": str(an_id(6)),
                "number": 1,
                "state": "PROGRESS",
                "meta": {"current": 1},
            }
        ],
    }


def a_reply() -> ExchangeReply:
    """Everything a server can answer, at once."""
    return ExchangeReply(
        leases=(
            Lease(
                id=an_id(11),
                job_id=an_id(12),
                task="myapp.add",
                payload=JsonText('{"args":[1,"é"],"kwargs":{"k":null}}'),
                queue="stuff",
                attempt=2,
                failures=1,
                max_retries=None,
                ttl=60.0,
                priority=-3,
                expires_in=4.5,
                confirm=True,
                attachment=StoredFile(name="a.txt", size=3, sha256="ab" * 32, content_type="text/plain"),
                owner=Owner(type="User", id="7"),
                passes_result=True,
                parent_id=an_id(21),
                root_id=an_id(22),
            ),
            Lease(
                id=an_id(13),
                job_id=an_id(14),
                task="myapp.add",
                payload=JsonText('{"args":[],"kwargs":{}}'),
                queue="stuff",
                attempt=1,
                failures=0,
                max_retries=3,
                ttl=60.0,
            ),
        ),
        settled=(
            Settled(lease_id=an_id(7), status=SettledStatus.RECORDED),
            Settled(lease_id=an_id(9), status=SettledStatus.REFUSED, code="lease_lost", reason="rescued"),
        ),
        commands=(Command(kind=CommandKind.CANCEL, lease_id=an_id(5), reason="by hand"),),
        retry_after=2.5,
    )


def a_reply_tree() -> dict[str, Any]:
    return {
        "leases": [
            {
                "id": str(an_id(11)),
                "job_id": str(an_id(12)),
                "task": "myapp.add",
                "payload": {"args": [1], "kwargs": {"k": 2}, "extras": {"time_limit": 5}},
                "parent_id": str(an_id(21)),
                "root_id": str(an_id(22)),
                "queue": "stuff",
                "attempt": 2,
                "failures": 1,
                "max_retries": 3,
                "ttl": 60,
                "priority": -3,
                "expires_in": 4.5,
                "confirm": True,
                "attachment": {"name": "a", "size": 3, "sha256": "ab", "content_type": "text/plain"},
                "owner": {"type": "User", "id": "7"},
                "passes_result": True,
            }
        ],
        "settled": [{"lease_id": str(an_id(7)), "status": "refused", "code": "c", "reason": "r"}],
        "commands": [{"kind": "cancel", "lease_id": str(an_id(5)), "reason": "r"}],
        "retry_after": 2.5,
    }
