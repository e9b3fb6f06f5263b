"""The OpenAPI document: valid, complete, and of one mind with what the server answers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from outsourced.errors import BY_CODE
from outsourced.server.api.openapi import FURTHER_CODES
from outsourced.server.services import Services
from outsourced.sql import queues
from outsourced.wire.job_schemas import HistorySchema, JobSchema
from outsourced.wire.jobs import history_tree, job_tree
from tests.server.conftest import ADMIN
from tests.server.loopback import enqueue, on_one_database

pytestmark = on_one_database

#: the catch-all of unknown URLs, which documents nothing
UNKNOWN = "outsourced.unknown"


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/outsourced/v1/openapi.json")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document, cls=OpenAPIV31SpecValidator)


def test_document_has_every_rule_with_every_method(document: dict[str, Any], host: Flask) -> None:
    documented = {(path, method) for path, operations in document["paths"].items() for method in operations}
    rules = {
        (_template(rule.rule), method.lower())
        for rule in host.url_map.iter_rules()
        if rule.endpoint.startswith("outsourced.") and rule.endpoint != UNKNOWN
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert documented == rules


def _template(rule: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.removeprefix("/outsourced"))


def test_every_operation_says_what_it_is_for(document: dict[str, Any]) -> None:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(operation["summary"] for operation in operations)
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)


def test_every_problem_code_is_documented(document: dict[str, Any]) -> None:
    codes = document["components"]["schemas"]["Problem"]["properties"]["code"]["anyOf"]
    described = {code["const"]: code["description"] for code in codes if "const" in code}
    assert set(described) == set(BY_CODE) | set(FURTHER_CODES)
    assert all(described.values())


def test_document_names_where_the_blueprint_is_mounted(document: dict[str, Any]) -> None:
    assert document["servers"] == [{"url": "/outsourced"}]
    (flow,) = document["components"]["securitySchemes"]["token"]["flows"].values()
    assert flow["tokenUrl"] == "/outsourced/oauth/token"


def test_schemas_of_jobs_are_what_the_codec_writes(services: Services) -> None:
    queues.create(services.backend, "q", actor=ADMIN)
    job_id = enqueue(services, 1, 2)
    job = services.backend.job(job_id)
    assert job is not None
    job_keys = {field.data_key or name for name, field in JobSchema().fields.items()}
    assert set(job_tree(job)) == job_keys
    (row,) = history_tree(services.backend.history(job_id))["history"]
    row_schema = HistorySchema().fields["history"].inner.schema  # type: ignore[attr-defined]
    assert set(row) == {field.data_key or name for name, field in row_schema.fields.items()}
