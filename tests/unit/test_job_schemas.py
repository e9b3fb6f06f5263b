"""The schema of a new job and the codec that reads it: one verdict on the same body."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from marshmallow import ValidationError

from outsourced.errors import InvalidRequest
from outsourced.wire.job_schemas import NewJobSchema
from outsourced.wire.new_jobs import load_new_job
from outsourced.wire.strict import parse


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ('{"task": "t"}', True),
        ('{"task": "t", "args": [1], "kwargs": {"a": null}, "priority": -5, "runs_in": 1.5}', True),
        ('{"task": "t", "runs_at": "2030-01-01T00:00:00+00:00", "max_retries": null}', True),
        ('{"task": "t", "owner": {"type": "Thing", "id": "7"}, "unique_key": "k"}', True),
        ('{"task": "t", "after": [{"job": "j", "kind": "chord", "opens": 1, "passes": false}]}', True),
        ('{"task": "t", "after": null}', True),
        ('{"task": "t", "after": [{"job": "j"}]}', False),
        ('{"task": "t", "after": [{"job": "j", "kind": "chord", "opens": 101}]}', False),
        ('{"task": "t", "after": [{"job": "j", "kind": "chord", "passes": 1}]}', False),
        ('{"task": "t", "after": {"job": "j", "kind": "chord"}}', False),
        ("{}", False),
        ('{"task": ""}', False),
        ('{"task": "t", "args": {}}', False),
        ('{"task": "t", "priority": 1.5}', False),
        ('{"task": "t", "runs_in": -1}', False),
        ('{"task": "t", "runs_at": "2030-01-01T00:00:00"}', False),
        ('{"task": "t", "owner": "Thing"}', False),
        ('{"task": "t", "max_losses": true}', False),
    ],
)
def test_schema_and_codec_of_a_new_job_agree(body: str, good: bool) -> None:
    def taken_by(load: Callable[[], object]) -> bool:
        try:
            load()
        except (InvalidRequest, ValidationError):
            return False
        return True

    assert taken_by(lambda: load_new_job(body.encode())) is good
    assert taken_by(lambda: NewJobSchema().load(parse(body.encode()))) is good
