"""OAuth 2, over authlib: client credentials (RFC 6749) by `private_key_jwt` (RFC 7523) or a secret,
revocation (RFC 7009), introspection (RFC 7662), metadata (RFC 8414). What it gives: `access_token`.

Where authlib's checks are looser than ours, each tightening says so beside it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, cast

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import ClientMixin, InvalidClientError, InvalidRequestError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from flask import Response, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from sqlalchemy.exc import IntegrityError

from outsourced import clock
from outsourced.errors import AuthenticationFailed, Forbidden
from outsourced.records import Identity
from outsourced.server.access_token import (
    ALGORITHM,
    LEEWAY,
    SCOPES,
    AccessTokenGenerator,
    AccessTokenValidator,
    Issuer,
    VerifiedTokens,
    identity_in,
)
from outsourced.server.token_rate import TokenRate
from outsourced.sql import credentials
from outsourced.sql.database import Database

#: how an account proves who it is: by its key; clients also by a secret, in either place of RFC 6749 §2.3.1
KEY_METHOD = "private_key_jwt"
SECRET_METHODS = ("client_secret_basic", "client_secret_post")
AUTH_METHODS = (KEY_METHOD, *SECRET_METHODS)
#: seconds an assertion may live; what is spent is remembered longer
ASSERTION_LIFE = 3600
#: characters of an assertion's `jti`
MAX_JTI = 200

#: a digest that no secret has
_NOBODY = "0" * 64
_UNKNOWN = "The client is unknown, or the assertion is not signed with a key it has on record."


class AccountClient(ClientMixin):  # type: ignore[misc]
    """An account as authlib's client."""

    def __init__(self, name: str, holder: credentials.Holder | None) -> None:
        self.name, self.holder = name, holder

    def get_client_id(self) -> str:
        return self.name

    def get_allowed_scope(self, scope: str | None) -> str | None:
        allowed = SCOPES["worker" if self.holder is None else self.holder.kind]
        return allowed if set((scope or allowed).split()) == {allowed} else None

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in AUTH_METHODS

    def check_client_secret(self, secret: str) -> bool:
        """Whether one of the account's secrets is this; raises LockedClientError if so, and it is locked."""
        known = self.holder.secrets.values() if self.holder is not None else ()
        digest = credentials.digest_of(secret)
        # a stranger is compared with something too: the answer takes as long
        good = [hmac.compare_digest(digest, one) for one in (*known, _NOBODY)]
        if not any(good):
            return False
        if self.holder is not None and self.holder.locked:
            raise LockedClientError()
        return True

    def check_grant_type(self, grant_type: str) -> bool:
        return bool(grant_type == AccountGrant.GRANT_TYPE)

    def keys(self) -> KeySet:
        """Its public keys; for a client we do not know a key that fits nobody, so that all goes on alike."""
        if self.holder is None or not self.holder.keys:
            return KeySet([ECKey.generate_key("P-256", auto_kid=True)])
        return KeySet([ECKey.import_key(jwk) for jwk in self.holder.keys.values()])


class LockedClientError(InvalidClientError):  # type: ignore[misc]
    """The account has proved who it is, but is locked out."""

    description = "The account is locked out."

    def get_body(self) -> list[tuple[str, str]]:
        return [*super().get_body(), ("code", "worker_locked")]


class AccountAssertion(JWTBearerClientAssertion):  # type: ignore[misc]
    """Client authentication by an assertion signed with one of the account's keys."""

    CLIENT_AUTH_METHOD = KEY_METHOD

    def __init__(self, issuer: Issuer, database: Database) -> None:
        super().__init__(
            validate_jti=False, leeway=LEEWAY
        )  # _spend does it, in one transaction with the rest
        self._issuer, self._database = issuer, database

    def get_audiences(self) -> list[str]:
        return [self._issuer.audience]

    def resolve_client_public_key(self, client: AccountClient) -> KeySet:
        return client.keys()

    def extract_assertion(self, assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """As authlib, but a deeply nested assertion is a bad request, not a crash."""
        try:
            return cast("tuple[dict[str, Any], dict[str, Any]]", super().extract_assertion(assertion))
        except RecursionError:
            raise InvalidRequestError(description="The assertion is nested too deeply.") from None

    def process_assertion_claims(self, assertion: str, keys: KeySet) -> dict[str, Any]:
        """As authlib, but the algorithm is pinned, `kid` required, `jti` spent, and the lifetime bounded."""
        try:
            token = jwt.decode(assertion, keys, algorithms=[ALGORITHM])
        except (JoseError, ValueError, RecursionError) as error:
            raise InvalidClientError(description=_UNKNOWN) from error
        if not isinstance(token.header.get("kid"), str):
            raise InvalidClientError(description="The assertion does not name its key: kid is missing.")
        self.verify_claims(token.claims)
        if token.claims["exp"] > clock.now().timestamp() + ASSERTION_LIFE + LEEWAY:
            raise InvalidClientError(description="The assertion lives too long: one hour is the most.")
        self._spend(token.claims, token.header["kid"])
        return token.claims

    def _spend(self, claims: dict[str, Any], kid: str) -> None:
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI:
            raise InvalidClientError(description="The assertion needs a jti of at most 200 characters.")

        def write(connection: Any) -> None:
            at = self._database.now(connection)
            credentials.spend(connection, account=claims["sub"], jti=jti, at=at)
            credentials.touch(connection, kid)

        try:
            self._database.write(write)
        except IntegrityError as error:
            raise InvalidClientError(description="The assertion was used before.") from error

    def authenticate_client(self, client: AccountClient) -> AccountClient:
        if client.holder is None:  # nobody can sign for a stranger
            raise InvalidClientError(description=_UNKNOWN)
        if client.holder.locked:
            raise LockedClientError()
        return client


class AccountGrant(ClientCredentialsGrant):  # type: ignore[misc]
    """RFC 6749 §4.4, the one grant."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A verified token as authlib's endpoints ask for it."""

    identity: Identity
    claims: dict[str, Any]
    revoked: bool

    def check_client(self, client: AccountClient) -> bool:
        return self.identity.name == client.name

    def is_expired(self) -> bool:
        return False  # such a one was never verified

    def is_revoked(self) -> bool:
        return self.revoked


class AccountRevocation(RevocationEndpoint):  # type: ignore[misc]
    """Ends the account's tokens: all of the epoch, since a JWT is not recalled alone."""

    CLIENT_AUTH_METHODS = AUTH_METHODS

    def query_token(self, text: str, hint: str | None) -> AccessToken | None:
        return cast("AccountAuthorizationServer", self.server).find_token(text)

    def revoke_token(self, token: AccessToken, request: OAuth2Request) -> None:
        account = token.identity
        self.server.database.write(
            lambda connection: credentials.void_tokens(connection, account_id=account.id, epoch=account.epoch)
        )


class AccountIntrospection(IntrospectionEndpoint):  # type: ignore[misc]
    """Tells an account about its own tokens, and nobody about another's."""

    CLIENT_AUTH_METHODS = AUTH_METHODS

    def query_token(self, text: str, hint: str | None) -> AccessToken | None:
        return cast("AccountAuthorizationServer", self.server).find_token(text)

    def check_permission(self, token: AccessToken, client: AccountClient, request: OAuth2Request) -> bool:
        return token.check_client(client)

    def introspect_token(self, token: AccessToken) -> dict[str, Any]:
        told = ("iss", "sub", "aud", "client_id", "scope", "exp", "iat", "jti")
        return {"token_type": "Bearer", **{name: token.claims[name] for name in told}}


class AccountAuthorizationServer(AuthorizationServer):  # type: ignore[misc]
    """The authorization server of one installation, and the check of its tokens.

    Never given the app: authlib would read the OAUTH2_* settings, which are the host's.
    """

    def __init__(self, issuer: Issuer, database: Database, rate: TokenRate) -> None:
        super().__init__()
        self.issuer, self.database = issuer, database
        self._rate = rate
        self.scopes_supported = list(SCOPES.values())
        self._validator = AccessTokenValidator(issuer)
        self._verified = VerifiedTokens()
        self.register_client_auth_method(KEY_METHOD, AccountAssertion(issuer, database))
        self.register_grant(AccountGrant)
        self.register_token_generator("default", AccessTokenGenerator(issuer))
        self.register_endpoint(AccountRevocation)
        self.register_endpoint(AccountIntrospection)

    def query_client(self, client_id: str) -> AccountClient:
        """The account that says it asks; raises TooManyRequests, before anything is looked up or verified."""
        self._rate.admit(client_id, request.remote_addr or "")
        with self.database.connect() as connection:
            return AccountClient(client_id, credentials.find(connection, client_id))

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """Keeps nothing: a token speaks for itself, and ends with its epoch."""

    def handle_error_response(self, request: OAuth2Request, error: OAuth2Error) -> Response:
        """As authlib, but a client that failed to authenticate always gets 401."""
        if not isinstance(error, InvalidClientError):
            return cast(Response, super().handle_error_response(request, error))
        error.status_code = 401
        response = cast(Response, super().handle_error_response(request, error))
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_client"'
        return response

    def verify(self, text: str) -> Identity:
        """Whose access token this is; raises AuthenticationFailed, or Forbidden without a scope.

        Says nothing of what happened since it was issued: see `require_standing`.
        """
        digest = hashlib.sha256(text.encode()).digest()
        now = clock.now().timestamp()
        identity = self._verified.get(digest, now)
        if identity is None:
            claims = self._validator.claims(text)
            identity = identity_in(claims)
            self._verified.put(digest, identity, claims["exp"] + LEEWAY)
        return identity

    def find_token(self, text: str) -> AccessToken | None:
        """The token with its standing now; None unless it is one of ours."""
        try:
            claims = self._validator.claims(text)
            identity = identity_in(claims)
        except (AuthenticationFailed, Forbidden):
            return None
        with self.database.connect() as connection:
            standing = credentials.standing(connection, account_id=identity.id)
        return AccessToken(identity=identity, claims=claims, revoked=standing != ("active", identity.epoch))

    def metadata(self) -> dict[str, Any]:
        """The document of RFC 8414."""
        url = self.issuer.url
        return {
            "issuer": url,
            "token_endpoint": f"{url}/oauth/token",
            "revocation_endpoint": f"{url}/oauth/revoke",
            "introspection_endpoint": f"{url}/oauth/introspect",
            "jwks_uri": f"{url}/oauth/jwks",
            "scopes_supported": list(SCOPES.values()),
            "response_types_supported": ["none"],
            "grant_types_supported": [AccountGrant.GRANT_TYPE],
        } | {
            f"{endpoint}_endpoint_auth_{fact}": values
            for endpoint in ("token", "revocation", "introspection")
            for fact, values in (
                ("methods_supported", list(AUTH_METHODS)),
                ("signing_alg_values_supported", [ALGORITHM]),
            )
        }

    def jwks(self) -> dict[str, Any]:
        """The public key, for those who check tokens themselves."""
        return cast(dict[str, Any], KeySet([self.issuer.key]).as_dict(private=False))
