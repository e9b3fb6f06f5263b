"""The signing key: the operator's, or the stored one, and what is said when neither opens."""

from __future__ import annotations

import json

import pytest
from joserfc.jwk import ECKey, RSAKey

from outsourced.errors import ConfigurationError
from outsourced.server.signing import load_signing_key, new_signing_key


def test_stored_key_opens_with_the_secret_it_was_made_under() -> None:
    stored = new_signing_key("secret")
    key = load_signing_key(stored, secret_key=b"secret")
    assert key.is_private
    assert key.kid == key.thumbprint()
    assert key.kid == load_signing_key(stored, secret_key="secret").kid


def test_stored_key_does_not_show_its_content() -> None:
    assert "kty" not in new_signing_key("secret")


def test_changed_secret_is_explained() -> None:
    stored = new_signing_key("old")
    with pytest.raises(ConfigurationError, match="SECRET_KEY_FALLBACKS"):
        load_signing_key(stored, secret_key="new")
    assert load_signing_key(stored, secret_key="new", fallbacks=["older", "old"]).is_private


def test_missing_secret_is_explained() -> None:
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        new_signing_key(None)


def test_missing_key_names_init() -> None:
    with pytest.raises(ConfigurationError, match="flask outsourcer init"):
        load_signing_key(None, secret_key="secret")


@pytest.mark.parametrize("form", ["pem", "jwk"])
def test_given_key_wins(form: str) -> None:
    own = ECKey.generate_key("P-256")
    text = own.as_pem(private=True).decode() if form == "pem" else json.dumps(own.as_dict(private=True))
    assert load_signing_key(new_signing_key("s"), secret_key=None, given=text).kid == own.thumbprint()


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "{}",
        '{"kty": "EC"}',
        ECKey.generate_key("P-256").as_pem(private=False).decode(),
        ECKey.generate_key("P-384").as_pem(private=True).decode(),
        RSAKey.generate_key(2048).as_pem(private=True).decode(),
    ],
)
def test_given_key_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="OUTSOURCED_SIGNING_KEY"):
        load_signing_key(None, secret_key="s", given=text)
