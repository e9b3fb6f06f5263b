"""What a job that waits for others is told by their ends, whichever store keeps it.

Texts are put together without parsing: a result, or an error's wording, goes into the arguments of
the next job as the JSON it was stored as.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from outsourced.errors import ChordError, InvalidRequest, JobFailed, JobRevoked, PayloadError
from outsourced.records import EdgeKind, NewJob, Withheld
from outsourced.states import TERMINAL, Event, Reason, State

#: all results that one job is given, in bytes of JSON
MAX_INPUT = 4 * 1024 * 1024
#: the task that every worker knows, and a job becomes that waits for its replacement; see `mapping`
ACCUMULATE = "outsourced.accumulate"
#: how the arguments of every job begin, as `payload.encode_call` writes them
ARGS_OPEN = '{"args":['
#: over what an error of others, passed on, is a failure of one's own: errbacks are called for it
RAISING = frozenset({EdgeKind.CHORD, EdgeKind.REPLACEMENT})
#: type and message of a stored error, as they are escaped there
ERROR_HEAD = r'^\{"type":"((?:[^"\\]|\\.)*)","message":"((?:[^"\\]|\\.)*)"'


def name_of(kind: type[Exception]) -> str:
    """An exception class as a stored error names it."""
    return f"{kind.__module__}.{kind.__qualname__}"


CHORD_ERROR, REVOKED, FAILED, IRREPLACEABLE = map(
    name_of, (ChordError, JobRevoked, JobFailed, InvalidRequest)
)


class Brief(NamedTuple):
    """An error in two words: type and message, both as JSON has them inside its quotes."""

    type: str
    message: str

    def dumped(self) -> str:
        """The error as history keeps it."""
        return f'{{"type":"{self.type}","message":"{self.message}","traceback":"","causes":[]}}'

    def passed_on(self, kind: EdgeKind, upstream: UUID) -> Brief:
        """What it is to the job that waits: the same in a chain, a ChordError in a chord."""
        if kind is not EdgeKind.CHORD:
            return self
        short = self.type.rpartition(".")[2]
        return Brief(CHORD_ERROR, f"Dependency {upstream} raised {short}('{self.message}')")


def brief_of(job_id: UUID, state: State, *, error: str | None, reason: str | None) -> Brief:
    """How a job ended that did not complete; `error` is its last one, as stored."""
    if state is State.FAILED:
        found = re.match(ERROR_HEAD, error or "")
        if found:
            return Brief(*found.groups())
        return Brief(FAILED, _escaped(f"job {job_id} is failed: {reason}"))
    return Brief(REVOKED, _escaped(f"job {job_id} is {state}"))


def irreplaceable() -> Brief:
    """Why a job that repeats cannot be replaced."""
    return Brief(
        IRREPLACEABLE,
        "a job that repeats cannot be replaced: its repeats would be of what replaced it; "
        "have it enqueue another job, and that one be replaced",
    )


def withheld(size: int) -> str:
    """What a job is given in the place of results that take too much: it fails when it is to run."""
    return f'{{"$too_large":{size}}}'


def require_given(args: Sequence[Any]) -> None:
    """Raises PayloadError where the results that come first were withheld."""
    if args and isinstance(args[0], Withheld):
        raise PayloadError(
            f"the results it waited for take {args[0].size:,} bytes of JSON, the limit is {MAX_INPUT:,}: "
            "save large results with save_file()"
        )


def listed(results: Iterable[tuple[int, str | None, int]]) -> str:
    """The results as one argument; each with the brackets it opens and closes."""
    return ",".join(f"{'[' * opens}{result or 'null'}{']' * closes}" for opens, result, closes in results)


def failed_argument(job_id: UUID, task: str, *, error: str, call: str) -> str:
    """What an errback is given of the job that failed; see `payload.FailedJob`."""
    name = orjson.dumps(task).decode()
    return f'{{"$failed":{{"id":"{job_id}","task":{name},"error":{error},"call":{call}}}}}'


def with_input(payload: str, argument: str) -> str:
    """The arguments with one put in front."""
    rest = payload.removeprefix(ARGS_OPEN)
    return f"{ARGS_OPEN}{argument}{'' if rest.startswith(']') else ','}{rest}"


def check_waits(jobs: Sequence[NewJob], *, parent_id: UUID | None) -> None:
    """Raises InvalidRequest unless each job waits for jobs before it in the call, once each.

    So that nothing waits for itself, for somebody else's jobs, or for what has long ended. To have others
    wait for a job, by adding it to a chord, is for a task that is in one.
    """
    if parent_id is None and any(job.add_to_chord for job in jobs):
        raise InvalidRequest("add_to_chord is for a task at work: nobody else is in a chord")
    before: set[UUID] = set()
    for job in jobs:
        upstreams = {edge.upstream for edge in job.after}
        if not upstreams <= before or len(upstreams) < len(job.after):
            raise InvalidRequest(
                f"job {job.id} may wait only for jobs enqueued before it in the same call, once for each",
                job_id=str(job.id),
            )
        if job.after and not job.payload.startswith(ARGS_OPEN):
            raise InvalidRequest(f"job {job.id} cannot be given results: its payload is not as we write it")
        if job.after and (job.repeats_after_complete or job.repeats_after_fail):
            raise InvalidRequest(f"job {job.id} waits for others and is to repeat: have the first one repeat")
        before.add(job.id)


def verdict(edges: Sequence[tuple[EdgeKind, bool | None]]) -> Event | None:
    """What becomes of a job that waits so: None: it waits on. An edge is met, or not, or that is open."""
    errors = [met for kind, met in edges if kind is EdgeKind.ERROR]
    others = [met for kind, met in edges if kind is not EdgeKind.ERROR]
    if errors and all(met is False for met in errors):
        return Event.CANCEL
    if any(met is False for met in others):
        return Event.FAIL
    return Event.ADMIT if all(others) and (any(errors) or not errors) else None


class Follower(NamedTuple):
    """A job that comes after one that a person retries."""

    id: UUID
    state: State
    reason: str | None
    filled: bool  #: it has been admitted: its arguments are complete, and it ran with them
    whole: bool  #: all that it waits for is still known


class Link(NamedTuple):
    """An edge as it stands."""

    upstream: UUID
    downstream: UUID
    kind: EdgeKind
    passes: bool
    met: bool | None
    kept: bool = True  #: the result that came over it can still be given


def revived(retried: UUID, followers: Iterable[Follower], links: Sequence[Link]) -> list[UUID]:
    """Which of them wait again, as this job is tried again that had not completed.

    Those for which its end had decided: who failed with it, unless another keeps them failed, and errbacks,
    whether they were called or not needed, with what comes after them. Not who runs, nor what a person
    cancelled, nor an errback that was replaced: by now it would give the old result, whatever failed. The
    followers come in the order in which they were enqueued.
    """
    again = {retried}
    into: dict[UUID, list[Link]] = defaultdict(list)
    for link in links:
        into[link.downstream].append(link)
    left = [one.id for one in followers if one.whole and one.state in TERMINAL and _was_decided(one)]
    found, before = list[UUID](), -1
    while before < len(found):  # a second time: a job that was replaced is older than what it waits for
        before = len(found)
        for job_id in left:
            if job_id not in again and _waits_again(into[job_id], again):
                again.add(job_id)
                found.append(job_id)
    return found


def _was_decided(one: Follower) -> bool:
    return one.filled or one.reason in (Reason.UPSTREAM, Reason.NOT_NEEDED)


def _waits_again(links: Sequence[Link], again: set[UUID]) -> bool:
    mine = [link for link in links if link.upstream in again]
    others = [link for link in links if link.upstream not in again]
    if any(link.met is False and link.kind is not EdgeKind.ERROR for link in others):
        return False  # another has failed it
    if any(link.passes and not link.kept and link.kind is not EdgeKind.ERROR for link in others):
        return False  # it would be given less than it was to be
    is_called = any(link.met and link.kind is EdgeKind.ERROR for link in others)
    return bool(mine) and not (is_called and all(link.kind is EdgeKind.ERROR for link in mine))


def takes_input(links: Iterable[Link]) -> bool:
    """Whether a job that is admitted is given one more argument, as its edges stand."""
    return any(link.passes and (link.kind is not EdgeKind.ERROR or bool(link.met)) for link in links)


def without_input(payload: str) -> str:
    """The arguments as they were before `with_input`."""
    call = orjson.loads(payload)
    del call["args"][:1]  # none, if a try had asked for other arguments
    return orjson.dumps(call).decode()


def _escaped(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]
