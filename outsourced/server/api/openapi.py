"""`GET /v1/openapi.json`: the whole API, made from the blueprint's rules and the schemas of the wire."""

from __future__ import annotations

import re
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Blueprint, current_app, request
from flask.typing import ResponseReturnValue
from marshmallow import Schema, fields
from werkzeug.routing import Rule

from outsourced.errors import BY_CODE
from outsourced.server.api.messages import json_answer
from outsourced.server.api.operations import EVERYWHERE, OPERATIONS, Errors, Operation
from outsourced.wire.headers import PROTOCOL
from outsourced.wire.new_jobs import FILE_PART, JOB_PART
from outsourced.wire.schemas import Identity, Number, ProblemSchema, Truth, Whole

#: codes that no class of ours has: the framework's refusals, and bugs
FURTHER_CODES = {
    "method_not_allowed": "This method is not for this URL; Allow names those that are.",
    "internal_error": "The server failed at this; its log says why.",
}
_TYPES = {Identity: fields.UUID, Whole: fields.Integer, Number: fields.Float, Truth: fields.Boolean}
_PARAMETER = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")


def register(bp: Blueprint) -> None:
    """Adds the rule."""
    bp.get("/v1/openapi.json")(openapi)


def openapi() -> ResponseReturnValue:
    """This document (OpenAPI 3.1)."""
    name = request.blueprint or ""
    rules = [rule for rule in current_app.url_map.iter_rules() if rule.endpoint.startswith(f"{name}.")]
    return json_answer(document(rules, prefix=request.path.removesuffix("/v1/openapi.json")))


def document(rules: list[Rule], *, prefix: str) -> dict[str, Any]:
    """The OpenAPI document of these rules, mounted at the prefix."""
    marshmallow = MarshmallowPlugin(schema_name_resolver=_schema_name)
    spec = APISpec(
        title="outsourced",
        version=version("outsourced"),
        openapi_version="3.1.0",
        plugins=[marshmallow],
        info={"description": f"A job queue. Version {PROTOCOL} of its protocol."},
        servers=[{"url": request.script_root + prefix or "/"}],
    )
    assert marshmallow.converter is not None
    for ours, known in _TYPES.items():
        marshmallow.map_to_openapi_type(ours, known)  # type: ignore[no-untyped-call]
    oauth = {"tokenUrl": f"{request.script_root}{prefix}/oauth/token", "scopes": {"worker": "", "client": ""}}
    spec.components.security_scheme("token", {"type": "oauth2", "flows": {"clientCredentials": oauth}})
    spec.components.schema("Problem", schema=ProblemSchema)
    for rule in rules:
        operation = OPERATIONS.get(rule.endpoint.rpartition(".")[2])
        if operation is not None:
            _add(spec, rule, operation, prefix=prefix)
    found = spec.to_dict()
    found["components"]["schemas"]["Problem"]["properties"]["code"] = _codes()
    return found


def _schema_name(schema: type[Schema] | Schema | str) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema")


def _codes() -> dict[str, Any]:
    """Every code with what it means; a client takes others as what their status says."""
    known = {code: (kind.__doc__ or code).strip().splitlines()[0] for code, kind in BY_CODE.items()}
    constants = [{"const": code, "description": text} for code, text in (known | FURTHER_CODES).items()]
    return {"anyOf": [*constants, {"type": "string"}]}


def _add(spec: APISpec, rule: Rule, operation: Operation, *, prefix: str) -> None:
    outside = not rule.rule.startswith(f"{prefix}/")
    path = _PARAMETER.sub(r"{\g<name>}", rule.rule if outside else rule.rule.removeprefix(prefix))
    parameters = [_path_parameter(match) for match in _PARAMETER.finditer(rule.rule)]
    view = current_app.view_functions[rule.endpoint]
    methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    operations = {
        method.lower(): {
            "operationId": f"{rule.endpoint.rpartition('.')[2]}{'' if len(methods) == 1 else f'_{method}'}",
            "summary": (view.__doc__ or "").strip().splitlines()[0],
            "tags": [operation.tag],
            "parameters": [*parameters, *operation.parameters],
            "responses": _responses(operation),
            **({"requestBody": _body(operation)} if operation.takes else {}),
            **({"security": [{"token": [operation.needs]}]} if operation.needs else {}),
            **({"servers": [{"url": request.script_root or "/"}]} if outside else {}),
        }
        for method in sorted(methods)
    }
    spec.path(path=path, operations=operations)


def _path_parameter(match: re.Match[str]) -> dict[str, Any]:
    schema = {"type": "string"} | ({"format": "uuid"} if match["kind"] == "uuid" else {})
    return {"in": "path", "name": match["name"], "required": True, "schema": schema}


def _body(operation: Operation) -> dict[str, Any]:
    assert operation.takes is not None
    content = _content(operation.takes)
    if operation.takes_file:
        # a file has no schema in OpenAPI 3.1: its part says what it is
        parts = {JOB_PART: {"$ref": f"#/components/schemas/{_schema_name(operation.takes)}"}, FILE_PART: {}}
        form = {"type": "object", "properties": parts, "required": [JOB_PART, FILE_PART]}
        content["multipart/form-data"] = {"schema": form}
    return {"required": True, "content": content}


def _content(of: type[Schema] | str) -> dict[str, Any]:
    if isinstance(of, str):
        return {of: {}}
    return {"application/json": {"schema": of}}


def _responses(operation: Operation) -> dict[str, Any]:
    """By status: the answers, and the refusals with their codes."""
    found: dict[str, Any] = {
        str(status): {"description": HTTPStatus(status).phrase}
        | ({"content": _content(operation.gives)} if operation.gives and status != 304 else {})
        for status in operation.statuses
    }
    problem = {"application/problem+json": {"schema": ProblemSchema}}
    for status, codes in _by_status((*operation.refusals, *EVERYWHERE)).items():
        found.setdefault(str(status), {"description": f"Refused: {', '.join(codes)}", "content": problem})
    return found | {"default": {"description": "Refused.", "content": problem}}


def _by_status(errors: Errors) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for error in errors:
        codes = found.setdefault(503 if error.code == "configuration" else error.status, [])
        if error.code not in codes:
            codes.append(error.code)
    return dict(sorted(found.items()))
