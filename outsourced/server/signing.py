"""The key that signs access tokens: the operator's own, or one kept encrypted in the database.

Encryption is Fernet under a key derived (HKDF) from the app's SECRET_KEY, so that a copy of the
database alone signs nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from outsourced.errors import ConfigurationError

#: binds the derived key to its purpose: another use of SECRET_KEY gives another key
PURPOSE = b"outsourced signing key"


def new_signing_key(secret_key: str | bytes | None) -> str:
    """A fresh private key, encrypted under the app's SECRET_KEY: what `init` stores."""
    jwk = orjson.dumps(ECKey.generate_key("P-256").as_dict(private=True))
    return _fernet(secret_key).encrypt(jwk).decode()


def load_signing_key(
    stored: str | None,
    *,
    secret_key: str | bytes | None,
    fallbacks: Sequence[str | bytes] = (),
    given: str | None = None,
) -> ECKey:
    """The private key, its thumbprint as key id: the `given` PEM or JWK, else the `stored` one decrypted.

    Raises ConfigurationError that tells what to do, above all for a SECRET_KEY that has changed;
    `fallbacks` are older ones, Flask's SECRET_KEY_FALLBACKS.
    """
    if given:
        return _import(given, "OUTSOURCED_SIGNING_KEY")
    if stored is None:
        raise ConfigurationError("there is no signing key yet: run `flask outsourcer init`")
    fernets = MultiFernet([_fernet(secret_key), *(_fernet(key) for key in fallbacks)])
    try:
        jwk = fernets.decrypt(stored).decode()
    except InvalidToken as error:
        raise ConfigurationError(
            "the app's SECRET_KEY is not the one `flask outsourcer init` encrypted the signing key under. "
            "Put the old one back, or into SECRET_KEY_FALLBACKS; or set OUTSOURCED_SIGNING_KEY"
        ) from error
    return _import(jwk, "the stored signing key")


def _fernet(secret_key: str | bytes | None) -> Fernet:
    if not secret_key:
        raise ConfigurationError(
            "the signing key is kept encrypted under the app's SECRET_KEY, and there is none: "
            "set app.config['SECRET_KEY'] to a long random value, or set OUTSOURCED_SIGNING_KEY"
        )
    secret = secret_key.encode() if isinstance(secret_key, str) else secret_key
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret)
    return Fernet(base64.urlsafe_b64encode(derived))


def _import(text: str, source: str) -> ECKey:
    try:
        key = ECKey.import_key(orjson.loads(text) if text.lstrip().startswith("{") else text)
    except (JoseError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{source} is neither a PEM nor a JWK of an EC key: {error}") from error
    if key.curve_name != "P-256" or not key.is_private:
        raise ConfigurationError(f"{source} must be a private key on P-256, for ES256")
    return ECKey.import_key({**key.as_dict(private=True), "kid": key.thumbprint()})
