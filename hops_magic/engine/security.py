"""TLS credentials of the embedded cluster: made anew for each daemon, kept in its private folder, gone with it."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from distributed.security import Security

from hops_magic.errors import ClusterError

# a daemon ends when it is idle; none lives this long
_VALID_FOR = datetime.timedelta(days=3650)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Paths of PEM files: the authority that both sides trust, and this side's own certificate and key."""

    ca: str
    cert: str
    key: str = ""
    """Empty if the key stands in the certificate's file."""

    def security(self) -> Security:
        """Return what Dask needs for a mutually authenticated connection, in any role.

        Raises
        ------
        ClusterError
            If a file is missing or is no PEM file.
        """
        for path in filter(None, (self.ca, self.cert, self.key)):
            if not Path(path).is_file():
                raise ClusterError(f"the TLS file {path} does not exist")
        key = self.key or self.cert
        roles = {f"tls_{role}_{part}": path for role in _ROLES for part, path in (("cert", self.cert), ("key", key))}
        security = Security(require_encryption=True, tls_ca_file=self.ca, **roles)
        try:
            security.get_connection_args("client")
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None)
            if reason == "KEY_VALUES_MISMATCH":
                raise ClusterError(f"the TLS key {key} does not belong to the certificate {self.cert}") from error
            if reason == "NO_CERTIFICATE_OR_CRL_FOUND":
                raise ClusterError(
                    f"the TLS file {self.ca}, which is to hold the authority, holds no certificate"
                ) from error
            raise ClusterError(f"the TLS files {self.ca}, {self.cert} and {key} cannot be used: {error}") from error
        return security


_ROLES = ("client", "scheduler", "worker")


def generate(folder: Path) -> Credentials:
    """Write an authority and a certificate signed by it into ``folder``, which must be private to the user.

    The authority's key is not kept: nobody can sign another certificate.
    """
    now = datetime.datetime.now(datetime.UTC)
    authority_key, node_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name("hops_magic embedded cluster")
    usage = {"content_commitment": False, "data_encipherment": False, "key_agreement": False}
    usage |= {"encipher_only": False, "decipher_only": False, "crl_sign": False, "key_encipherment": False}
    authority = (
        _certificate(authority_name, authority_name, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=False, key_cert_sign=True, **usage), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    node = (
        _certificate(_name("hops_magic node"), authority_name, node_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=False, **usage), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(here), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key_pem = node_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    credentials = credentials_in(folder)
    _write_private(Path(credentials.ca), authority.public_bytes(pem))
    _write_private(Path(credentials.cert), node.public_bytes(pem))
    _write_private(Path(credentials.key), key_pem)
    return credentials


def credentials_in(folder: Path) -> Credentials:
    """Return the credentials that :func:`generate` has written, or will write, into ``folder``."""
    return Credentials(ca=str(folder / "ca.pem"), cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))


def given(ca: str | None, cert: str | None, key: str | None) -> Credentials | None:
    """Return the user's own credentials; None if nothing is given.

    Raises
    ------
    ClusterError
        If only a part is given.
    """
    named: Sequence[str | None] = (ca, cert, key)
    if not any(named):
        return None
    if not ca or not cert:
        missing = "--tls-ca" if not ca else "--tls-cert"
        raise ClusterError(f"TLS needs both an authority and a certificate: add {missing}")
    return Credentials(ca=_expand(ca), cert=_expand(cert), key=_expand(key) if key else "")


def has_expired(path: Path) -> bool:
    """Whether a certificate's time is over, by this machine's clock."""
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc < datetime.datetime.now(datetime.UTC)


def _expand(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # clocks of containers on one machine differ little, but they do
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _VALID_FOR)
    )


def _write_private(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(data)
