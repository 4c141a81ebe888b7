"""TLS contexts for links: a fresh self-signed certificate for who listens, no check by who dials.

The certificate says nothing about who has it; `handshake` binds the peers' own signatures to it. It
is made at every start and never kept. OpenSSL reads the key from a file only, so there is one for a
moment, which only its owner may read. There are no session tickets: a resumed session would show no
certificate to bind to.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFETIME = timedelta(days=3_650)


class ListenerContext(NamedTuple):
    """A listener's context, and its certificate (DER)."""

    context: ssl.SSLContext
    certificate: bytes


def listener_context() -> ListenerContext:
    """A context with a new key and certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gossipbook")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    _load(
        context,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM),
    )
    return ListenerContext(context, certificate.public_bytes(serialization.Encoding.DER))


def dialler_context() -> ssl.SSLContext:
    """A context that takes any certificate; who is there, the handshake after it proves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    descriptor, path = tempfile.mkstemp(prefix="gossipbook-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)
