"""Access tokens for an account: authlib's session, made safe for threads and for a wrong clock.

To authlib's OAuth2Session this adds: the first token is fetched when it is first needed; threads
that find it expired make one call among them; and where the server refuses an assertion and its
`Date` differs from our clock, the difference is allowed for from then on.
"""

from __future__ import annotations

import logging
import threading
import uuid
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc7523 import PrivateKeyJWT, private_key_jwt_sign
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from outsourced import clock
from outsourced.errors import AuthenticationFailed, BackendUnavailable, ConfigurationError, WorkerLocked
from outsourced.http.answers import error_of

log = logging.getLogger(__name__)

ALGORITHM = "ES256"
#: what the token of a worker is for, and that of a client
WORKER_SCOPE, CLIENT_SCOPE = "worker", "producer"
#: seconds an assertion is good for
ASSERTION_LIFE = 300
#: seconds before its end at which a token is renewed
RENEWAL = 30
#: seconds two clocks may differ without our saying anything
TOLERANCE = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProof:
    """An account proves itself by signing with its key: `private_key_jwt`. `private_key` is a PEM."""

    key_id: str
    private_key: str = field(repr=False)
    audience: str  #: the installation's id

    def __post_init__(self) -> None:
        """Raises ConfigurationError for what is no key."""
        load_key(self.private_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretProof:
    """An account proves itself by a secret: `client_secret_basic`."""

    secret: str = field(repr=False)


Proof = KeyProof | SecretProof


class ClockedAssertion(PrivateKeyJWT):  # type: ignore[misc]
    """The assertion of RFC 7523, its times corrected by `skew` seconds."""

    def __init__(self, audience: str, *, key_id: str) -> None:
        super().__init__(token_endpoint=audience, alg=ALGORITHM)
        self._key_id = key_id
        self.skew = 0.0

    def sign(self, auth: ClientAuth, token_endpoint: str) -> str:
        """A fresh assertion; its `jti` is never used twice."""
        issued_at = int(clock.now().timestamp() + self.skew)
        claims = {"jti": str(uuid.uuid4()), "iat": issued_at, "exp": issued_at + ASSERTION_LIFE}
        return str(
            private_key_jwt_sign(
                auth.client_secret,
                client_id=auth.client_id,
                token_endpoint=token_endpoint,
                alg=ALGORITHM,
                claims=claims,
                header={"kid": self._key_id},
            )
        )


class TokenSession(OAuth2Session):  # type: ignore[misc]
    """A requests session whose `token_auth` always has a token that is good, as far as we know."""

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        proof: Proof,
        scope: str,
        timeout: tuple[float, float],
    ) -> None:
        assertion = None
        if isinstance(proof, KeyProof):
            assertion = ClockedAssertion(proof.audience, key_id=proof.key_id)
        super().__init__(
            client_id,
            load_key(proof.private_key) if isinstance(proof, KeyProof) else proof.secret,
            token_endpoint_auth_method="client_secret_basic" if assertion is None else assertion.name,
            scope=scope,
            leeway=RENEWAL,
            default_timeout=timeout,
            token_endpoint=f"{url}/oauth/token",
            grant_type="client_credentials",
        )
        self._url = url
        self._assertion = assertion
        self._renewing = threading.Lock()
        if assertion is not None:
            self.register_client_auth_method(assertion)
        self.register_compliance_hook("access_token_response", self._check_answer)

    def ensure_active_token(self, token: Any = None) -> bool:
        """Called by authlib before each request that carries the token."""
        token = self.token
        if not token or token.is_expired(leeway=self.leeway):
            self.renew(token and token["access_token"])
        return True

    def renew(self, stale: str | None) -> None:
        """Fetches a token in place of the access token `stale`, unless another thread has meanwhile."""
        with self._renewing:
            token = self.token
            if (token and token["access_token"]) == stale:
                self._fetch()

    def _fetch(self) -> None:
        before = self.skew
        try:
            self.fetch_token(allow_redirects=False)
        except WorkerLocked:
            raise
        except AuthenticationFailed:
            if self.skew == before:
                raise
            self.fetch_token(allow_redirects=False)

    @property
    def skew(self) -> float:
        """Seconds the server's clock is ahead, as far as that is allowed for."""
        return 0.0 if self._assertion is None else self._assertion.skew

    def _check_answer(self, answer: requests.Response) -> requests.Response:
        """Raises the error that the answer of the token endpoint stands for; else gives the answer."""
        tree = _object_in(answer.content)
        if answer.status_code == 200 and isinstance(tree.get("access_token"), str):
            return answer
        if isinstance(tree.get("error"), str) and answer.status_code in (400, 401):
            self._correct_clock(answer)
            raise _refusal(tree)
        raise error_of(answer, base=self._url)

    def _correct_clock(self, answer: requests.Response) -> None:
        """Sets the assertion's clock by the server's, where the two differ."""
        if self._assertion is None:
            return
        try:
            theirs = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
        except ValueError:
            return  # an answer without a date tells nothing of the time
        skew = theirs - clock.now().timestamp()
        if abs(skew - self._assertion.skew) < TOLERANCE:
            return
        log.warning(
            "this machine's clock is %+.0f s off the server's, which is allowed for; set it right", -skew
        )
        self._assertion.skew = skew


def load_key(private_key: str) -> ECKey:
    """The key in a PEM; raises ConfigurationError."""
    try:
        key = ECKey.import_key(private_key)
    except (JoseError, ValueError, TypeError) as error:
        raise ConfigurationError(f"private_key is no P-256 key in PEM form: {error}") from error
    if not key.is_private or key.curve_name != "P-256":
        raise ConfigurationError("private_key must be a private key on the curve P-256")
    return key


def _object_in(body: bytes) -> dict[str, Any]:
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return tree if isinstance(tree, dict) else {}


def _refusal(tree: dict[str, Any]) -> AuthenticationFailed | BackendUnavailable:
    """The error of an RFC 6749 refusal."""
    description = str(tree.get("error_description") or tree["error"])
    if tree.get("code") == WorkerLocked.code:
        return WorkerLocked(description)
    if tree["error"] == "temporarily_unavailable":
        return BackendUnavailable(description)
    return AuthenticationFailed(f"the server gives this account no access token: {description}")
