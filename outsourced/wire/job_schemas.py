"""What producers send and see, as marshmallow schemas: the description of `new_jobs` and `jobs`.

The messages themselves go through those modules' own codecs; tests hold the two together.
"""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from outsourced.calls import MAX_PRIORITY
from outsourced.records import PRODUCED
from outsourced.states import Event, State
from outsourced.wire.new_jobs import MAX_BRACKETS, MAX_JOBS
from outsourced.wire.schemas import (
    FailureSchema,
    FileSchema,
    Identity,
    Message,
    OwnerSchema,
    PayloadSchema,
    Truth,
    Whole,
    a_count,
    a_duration,
    a_name,
)


def _moment(**options: Any) -> fields.AwareDateTime:
    return fields.AwareDateTime(format="iso", **options)


class EdgeSchema(Message):
    """A job that comes before this one in the request, and what this one waits for it for."""

    job = a_name(required=True)
    kind = fields.String(required=True, validate=validate.OneOf([kind.value for kind in PRODUCED]))
    passes = Truth()
    opens = a_count(MAX_BRACKETS)
    closes = a_count(MAX_BRACKETS)


class NewJobSchema(Message):
    """A job to enqueue. Durations count from the request's arrival; give one of a pair, or neither."""

    task = a_name(required=True)
    args = fields.List(fields.Raw(allow_none=True))
    kwargs = fields.Dict(keys=fields.String())
    queue = a_name(allow_none=True)
    priority = Whole(validate=validate.Range(min=-MAX_PRIORITY, max=MAX_PRIORITY))
    runs_at = _moment(allow_none=True)
    runs_in = a_duration(allow_none=True)
    expires_at = _moment(allow_none=True)
    expires_in = a_duration(allow_none=True)
    stuck_after = a_duration(allow_none=True)
    repeats_after_fail = a_duration(allow_none=True)
    repeats_after_complete = a_duration(allow_none=True)
    owner = fields.Nested(OwnerSchema, allow_none=True)
    max_retries = a_count(allow_none=True)
    max_losses = a_count()
    unique_key = a_name(allow_none=True)
    id = a_name(allow_none=True)
    after = fields.List(fields.Nested(EdgeSchema), allow_none=True, validate=validate.Length(max=MAX_JOBS))
    add_to_chord = Truth()


class NewJobsSchema(Message):
    """Jobs to enqueue, all or none."""

    jobs = fields.List(
        fields.Nested(NewJobSchema), required=True, validate=validate.Length(min=1, max=MAX_JOBS)
    )


class EnqueuedSchema(Message):
    """The id of the job that was enqueued."""

    id = Identity(required=True)


class EnqueuedManySchema(Message):
    """The ids of the jobs, in their order."""

    ids = fields.List(Identity(), required=True)


class ProgressSchema(Message):
    """A state of a working task's own, and what goes with it."""

    state = fields.String(required=True)
    meta = fields.Raw(required=True, allow_none=True)


class JobSchema(Message):
    """A job as the server knows it now. A result of null and none at all differ in `has_result`."""

    id = Identity(required=True)
    task = fields.String(required=True)
    queue = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf([state.value for state in State]))
    priority = Whole(required=True)
    attempt = a_count(required=True)
    failures = a_count(required=True)
    losses = a_count(required=True)
    max_retries = a_count(required=True, allow_none=True)
    max_losses = a_count(required=True)
    owner = fields.Nested(OwnerSchema, required=True, allow_none=True)
    created_at = _moment(required=True)
    runs_at = _moment(required=True)
    expires_at = _moment(required=True, allow_none=True)
    gets_stuck_at = _moment(required=True, allow_none=True)
    repeats_after_fail_at = _moment(required=True, allow_none=True)
    repeats_after_complete_at = _moment(required=True, allow_none=True)
    repeat_of = Identity(required=True, allow_none=True)
    parent_id = Identity(required=True, allow_none=True)
    root_id = Identity(required=True, allow_none=True)
    begun_at = _moment(required=True, allow_none=True)
    ended_at = _moment(required=True, allow_none=True)
    cancel_requested_at = _moment(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)
    worker = fields.String(required=True, allow_none=True)
    payload = fields.Nested(PayloadSchema, required=True, allow_none=True)
    result = fields.Raw(required=True, allow_none=True)
    has_result = Truth(required=True)
    result_pruned = Truth(required=True)
    error = fields.Nested(FailureSchema, required=True, allow_none=True)
    files = fields.List(fields.Nested(FileSchema), required=True)
    progress = fields.Nested(ProgressSchema, required=True, allow_none=True)


class JobsSchema(Message):
    """A page of jobs, newest first; `cursor` asks for the next one, null: there is none."""

    jobs = fields.List(fields.Nested(JobSchema), required=True)
    cursor = Whole(required=True, allow_none=True)


class OwnedJobsSchema(JobsSchema):
    """Likewise of one owner, with how many there are by state."""

    counts = fields.Dict(keys=fields.String(), values=a_count(), required=True)


class CancelledSchema(Message):
    """How many jobs were cancelled, and of how many the worker was asked to stop."""

    cancelled = a_count(required=True)
    cancelling = a_count(required=True)


class TransitionSchema(Message):
    """One row of a job's history."""

    job_id = Identity(required=True)
    seq = a_count(required=True)
    from_state = fields.String(
        data_key="from",
        required=True,
        allow_none=True,
        validate=validate.OneOf([state.value for state in State]),
    )
    to_state = fields.String(
        data_key="to", required=True, validate=validate.OneOf([state.value for state in State])
    )
    event = fields.String(required=True, validate=validate.OneOf([event.value for event in Event]))
    attempt = a_count(required=True)
    actor = fields.String(required=True)
    lease_id = Identity(required=True, allow_none=True)
    at = _moment(required=True)
    reason = fields.String(required=True, allow_none=True)
    error = fields.Nested(FailureSchema, required=True, allow_none=True)


class HistorySchema(Message):
    """Every transition of a job, oldest first."""

    history = fields.List(fields.Nested(TransitionSchema), required=True)


class ChildrenSchema(Message):
    """The ids of what a job's task has enqueued, and of what comes after the job; oldest first."""

    children = fields.List(Identity(), required=True)


class GroupSchema(Message):
    """The results of a group, by their ids: `[[id, parent], [member, …]]`, a member of its own likewise."""

    group = fields.List(fields.Raw(allow_none=True), required=True)


class SavedSchema(Message):
    """The id of a group that is saved, or is no more."""

    id = Identity(required=True)
