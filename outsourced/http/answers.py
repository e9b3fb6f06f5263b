"""The error that an answer of `requests` stands for."""

from __future__ import annotations

from urllib.parse import urljoin

import requests

from outsourced.errors import BackendUnavailable, ConfigurationError, OutsourcedError
from outsourced.wire.problems import error_from_answer


def error_of(answer: requests.Response, *, base: str) -> OutsourcedError:
    """The error of an answer that is no success; `base` is the configured address of the server."""
    asked = str(answer.request.url)
    if answer.is_redirect:
        return _redirected(asked, urljoin(asked, answer.headers["Location"]), base=base)
    return error_from_answer(answer.status_code, answer.headers, answer.content, url=asked)


def _redirected(asked: str, target: str, *, base: str) -> OutsourcedError:
    """Redirects are not followed: they would carry the token to whom we were not told to trust."""
    path = asked.removeprefix(base)
    if target.endswith(path):
        url = target.removesuffix(path)
        return ConfigurationError(f"{base} sends us to another address: write `url: {url}`", url=url)
    return BackendUnavailable(
        f"{asked} sends us to {target}: a captive portal or a login page in between?", url=asked
    )
