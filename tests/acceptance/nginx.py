"""A real nginx before the servers of a deployment, with TLS of an authority of its own."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outsourced import clock
from tests.acceptance.process import Process
from tests.acceptance.recipes import recipe, replace_all
from tests.acceptance.waiting import wait_until

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
        _certify(self.authority, folder / "site.pem", folder / "site.key")
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


def _certify(authority: Path, certificate: Path, key: Path) -> None:
    """Makes an authority, and a certificate of it for loopback."""
    root_key, site_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = _name("An authority of this test")
    root = _unsigned(root_name, root_name, root_key.public_key())
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    site = _unsigned(_name("127.0.0.1"), root_name, site_key.public_key()).add_extension(
        address, critical=False
    )
    authority.write_bytes(root.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    certificate.write_bytes(site.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        site_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now, day = clock.now(), datetime.timedelta(days=1)
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - day, now + day)
