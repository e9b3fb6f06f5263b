"""Access tokens: JWTs after RFC 9068, ES256, ten minutes long. Made by authlib, checked harder.

Where authlib's checks are looser than ours, each tightening says so beside it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6750.errors import InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator, JWTBearerTokenValidator
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from outsourced.errors import AuthenticationFailed, Forbidden
from outsourced.records import ClientIdentity, Identity, WorkerIdentity

#: the one algorithm, for assertions and access tokens
ALGORITHM = "ES256"
#: kind of account → what its access token is good for
SCOPES = {"worker": "worker", "client": "producer"}
#: seconds an access token lives
TOKEN_LIFE = 600
#: seconds by which two clocks may differ
LEEWAY = 30
#: verified access tokens kept in mind
CACHE_SIZE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Who issues: the URL workers know, the installation's id, and the key that signs."""

    url: str
    audience: str
    key: ECKey


class AccessTokenGenerator(JWTBearerTokenGenerator):  # type: ignore[misc]
    """RFC 9068 access tokens, with the account's epoch in them."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__(issuer.url, alg=ALGORITHM, expires_generator=lambda client, grant_type: TOKEN_LIFE)
        self._issuer = issuer

    def get_jwks(self) -> KeySet:
        return KeySet([self._issuer.key])

    def get_audiences(self, client: Any, user: None, scope: str) -> str:
        return self._issuer.audience

    def get_extra_claims(self, client: Any, grant_type: str, user: None, scope: str) -> dict[str, Any]:
        return {"epoch": client.holder.epoch, "account_id": client.holder.account_id}


class AccessTokenValidator(JWTBearerTokenValidator):  # type: ignore[misc]
    """The way back: from a token's text to its claims."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__(issuer=issuer.url, resource_server=issuer.audience)
        self._keys = KeySet([issuer.key])

    def get_jwks(self) -> KeySet:
        return self._keys

    def claims(self, text: str) -> dict[str, Any]:
        """The claims of a token of ours that is good now; raises AuthenticationFailed.

        As authlib, but `typ` and `kid` are required, the algorithm is pinned, `sub` must be the
        client, and 30 s of clock skew are allowed for.
        """
        try:
            token = self.authenticate_token(text)
            token.validate(leeway=LEEWAY)
        except (InvalidTokenError, JoseError, ValueError, RecursionError) as error:
            raise AuthenticationFailed(
                "the access token is not good, or no longer: ask for a new one"
            ) from error
        header = token.header
        if header.get("typ") != "at+jwt" or header.get("alg") != ALGORITHM or "kid" not in header:
            raise AuthenticationFailed("this is no access token")
        if token["sub"] != token["client_id"] or not {"epoch", "account_id"} <= token.keys():
            raise AuthenticationFailed("this is no access token of an account")
        return dict(token)


def identity_in(claims: dict[str, Any]) -> Identity:
    """Whose token these claims are of; raises Forbidden for one without a scope of ours."""
    scopes = str(claims.get("scope")).split()
    for kind, scope in SCOPES.items():
        if scope in scopes:
            return _IDENTITIES[kind](id=claims["account_id"], name=claims["sub"], epoch=claims["epoch"])
    raise Forbidden(f"the access token has none of the scopes {', '.join(SCOPES.values())}")


_IDENTITIES: dict[str, type[Identity]] = {"worker": WorkerIdentity, "client": ClientIdentity}


class VerifiedTokens:
    """The tokens verified last, by digest: on the hot path a look-up instead of a signature check."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()

    def get(self, digest: bytes, now: float) -> Identity | None:
        with self._lock:
            entry = self._entries.get(digest)
            if entry is None:
                return None
            if entry[1] <= now:
                del self._entries[digest]
                return None
            self._entries.move_to_end(digest)
            return entry[0]

    def put(self, digest: bytes, identity: Identity, expires_at: float) -> None:
        with self._lock:
            self._entries[digest] = identity, expires_at
            if len(self._entries) > CACHE_SIZE:
                self._entries.popitem(last=False)
