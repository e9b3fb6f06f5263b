"""A real nginx before the servers of a deployment, with TLS of an authority of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.process import Process
from tests.acceptance.recipes import recipe, replace_all
from tests.acceptance.waiting import wait_until
from tests.certificates import certify

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx here: apt install nginx-light")

_AROUND = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/octet-stream;
    {site}
}}
"""


class Nginx:
    """The recipe of docs/deploy.md, served on a free port of loopback."""

    def __init__(
        self, folder: Path, port: int, *, upstream: str, files: Path, also: Mapping[str, str]
    ) -> None:
        self.url = f"https://127.0.0.1:{port}/shop/outsourced"
        self.port = port
        self.authority = folder / "authority.pem"
        self.access_log = folder / "access.log"
        folder.mkdir()
        certify(folder, ["127.0.0.1"])
        site = replace_all(
            recipe("nginx", "# /etc/nginx"),
            {
                "server 127.0.0.1:8000;": upstream,
                "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
                "/etc/ssl/app.example.com.pem": str(folder / "site.pem"),
                "/etc/ssl/private/app.example.com.key": str(folder / "site.key"),
                "/srv/shop/files/": f"{files}/",
            }
            | dict(also),
        )
        (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, site=site))
        assert NGINX is not None
        self.process = Process(
            "nginx",
            [NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder)],
            folder=folder,
            environment=os.environ,
            log=folder / "error.log",
        )

    def start(self) -> None:
        """Starts it, and waits until it has its port."""
        self.process.start()
        wait_until(lambda: self.access_log.exists() or self.process.has_died())
        assert not self.process.has_died(), self.process.log.read_text()

    def partial_answers(self) -> int:
        """How many were answered with a part of a file."""
        return self.access_log.read_text().count('" 206 ')

    def requests(self, method: str) -> int:
        """How many it has logged of this method."""
        return self.access_log.read_text().count(f'"{method} ')
