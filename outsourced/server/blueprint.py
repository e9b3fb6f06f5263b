"""`bp`, the whole server as one blueprint: OAuth, the API for workers, health, and `flask outsourcer`."""

from __future__ import annotations

from typing import Any, cast

from authlib.oauth2.rfc8414 import get_well_known_url
from flask import Blueprint, Flask, current_app, request
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import MethodNotAllowed, default_exceptions

from outsourced.errors import NotFound, OutsourcedError
from outsourced.server import api, cli, healthiness, limits, problems
from outsourced.server.extension import NAME, Outsourced
from outsourced.server.services import KEY, here

#: bytes of a request to the OAuth endpoints
MAX_OAUTH_BODY = 64 * 1024

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

bp = Blueprint(NAME, __name__, cli_group="outsourcer")
bp.register_error_handler(OutsourcedError, problems.from_error)
for status in default_exceptions:  # one by one: a host's handler of a status goes before ours of the class
    bp.register_error_handler(status, problems.from_http_error)
bp.register_error_handler(Exception, problems.from_bug)


@bp.before_request
def serve() -> None:
    """Begins the background services, and bounds the body: our limits, not the host's."""
    services = here()
    services.serve()
    limits.bound_json(services.settings)


@bp.get("/")
def index() -> ResponseReturnValue:
    """Says what this is."""
    return {
        "name": "outsourced",
        "what": "a job queue; its workers poll POST v1/leases",
        "health": "healthz",
        "api": "v1/openapi.json",
        "authorization_server": ".well-known/oauth-authorization-server",
    }


@bp.get("/healthz")
def health() -> ResponseReturnValue:
    """Green while this process can serve and some process does the background duties, else red with 503."""
    found = healthiness.examine(here())
    return found.tree(), 200 if found.is_green else 503, {"Cache-Control": "no-store"}


@bp.post("/oauth/token")
def token() -> ResponseReturnValue:
    """RFC 6749 §4.4: an access token for a signed assertion."""
    limits.bound_body(MAX_OAUTH_BODY, says=f"a request here has at most {MAX_OAUTH_BODY:,} bytes")
    return _answer(here().authorization_server.create_token_response())


@bp.post("/oauth/revoke")
def revoke() -> ResponseReturnValue:
    """RFC 7009: ends the tokens of the worker that asks."""
    limits.bound_body(MAX_OAUTH_BODY, says=f"a request here has at most {MAX_OAUTH_BODY:,} bytes")
    return _answer(here().authorization_server.create_endpoint_response("revocation"))


@bp.post("/oauth/introspect")
def introspect() -> ResponseReturnValue:
    """RFC 7662: whether a token of the worker that asks is good."""
    limits.bound_body(MAX_OAUTH_BODY, says=f"a request here has at most {MAX_OAUTH_BODY:,} bytes")
    return _answer(here().authorization_server.create_endpoint_response("introspection"))


def _answer(response: Any) -> ResponseReturnValue:
    # authlib is untyped
    answer: ResponseReturnValue = response
    return answer


@bp.get("/oauth/jwks")
def jwks() -> ResponseReturnValue:
    """RFC 7517: the public key of our access tokens."""
    return here().authorization_server.jwks()


@bp.get("/.well-known/oauth-authorization-server")
def metadata() -> ResponseReturnValue:
    """RFC 8414: where the OAuth endpoints are and what they accept."""
    return here().authorization_server.metadata()


def unknown(path: str) -> ResponseReturnValue:
    """Answers for every URL under our prefix that no other rule does: with a problem document."""
    urls = current_app.create_url_adapter(request)
    assert urls is not None
    ours = request.endpoint
    allowed = [
        method for method in METHODS if urls.test(method=method) and urls.match(method=method)[0] != ours
    ]
    if allowed:
        raise MethodNotAllowed(valid_methods=allowed)
    raise NotFound(
        f"there is nothing at {request.path}: the server's URL, for workers and clients, ends where the "
        f"blueprint is, with {request.path.removesuffix(path).rstrip('/')}"
    )


@bp.record_once
def mount(state: BlueprintSetupState) -> None:
    """Sets the app up, and adds the rules that depend on where in it we are."""
    app = cast(Flask, state.app)
    if KEY not in app.extensions:
        Outsourced(app)
    prefix = (state.url_prefix or "").rstrip("/")
    if prefix:  # at the root they would answer in the host's place
        state.add_url_rule(
            "/<path:path>", "unknown", unknown, methods=METHODS, provide_automatic_options=False
        )
        # RFC 8414 §3.1 wants the issuer's path after `/.well-known/…`, which is outside of our prefix
        endpoint = f"{state.name_prefix}{state.name}.well_known"
        app.add_url_rule(get_well_known_url(prefix), endpoint, metadata)


api.register(bp)
cli.register(bp)
