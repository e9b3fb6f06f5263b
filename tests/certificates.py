"""Certificates of an authority that exists for one test."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outsourced import clock


@dataclass(frozen=True)
class Files:
    """In PEM."""

    authority: Path
    certificate: Path
    key: Path


def certify(folder: Path, addresses: Sequence[str], *, age: timedelta = timedelta(0)) -> Files:
    """Makes an authority, and a certificate of it for these addresses, good for a day before and after
    it was made, which is `age` ago.
    """
    files = Files(folder / "authority.pem", folder / "site.pem", folder / "site.key")
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate(_ROOT, root_key.public_key(), age=timedelta(0), life=timedelta(days=10))
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    root = root.add_extension(_signs_certificates(), critical=True)
    root = root.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False
    )
    site = _certificate(_name("loopback"), key.public_key(), age=age, life=timedelta(days=1))
    names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    site = site.add_extension(x509.SubjectAlternativeName(names), critical=False)
    site = site.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
    )
    for path, made in ((files.authority, root), (files.certificate, site)):
        path.write_bytes(made.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


_ROOT = _name("An authority of this test")


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, *, age: timedelta, life: timedelta
) -> x509.CertificateBuilder:
    made = clock.now() - age
    serial = x509.random_serial_number()
    return x509.CertificateBuilder(_ROOT, subject, key, serial, made - life, made + life)


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
