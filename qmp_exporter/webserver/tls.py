"""What the web configuration says about TLS -> an SSLContext that does it, and whose certificate is welcome."""

import asyncio.sslproto
import contextlib
import ipaddress
import os
import ssl
from collections.abc import Iterator

from qmp_exporter.documents.document import ConfigError
from qmp_exporter.webserver.settings import Pem, Tls

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENTS = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
NAMES = frozenset({"DNS", "email", "URI", "IP Address"})  # kinds of alternative names that Go compares
# asyncio fills a buffer of this size for each connection with zeros, and hands on what was decrypted in such pieces.
# Its own size of 256 KiB would make 128 MiB of the connections that a crowd may hold open.
asyncio.sslproto.SSLProtocol.max_size = 16 << 10


def server_context(tls: Tls) -> ssl.SSLContext:
    """For all connections from now on.

    :raise ConfigError: a certificate or a key is none, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could make us work by it
    if tls.server_order:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.ciphers:
        context.set_ciphers(":".join(tls.ciphers))
    if tls.curve:
        context.set_ecdh_curve(tls.curve)
    context.set_alpn_protocols(["http/1.1"])
    _load(context, tls)
    context.verify_mode = _CLIENTS[tls.client_auth]
    if tls.client_ca:
        _trust(context, tls.client_ca)
    return context


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls.cert)  # load_cert_chain() does not tell which of the two it is
    try:
        with _as_file(tls.cert) as cert, _as_file(tls.key) as key:
            context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        why = (
            "belongs to another certificate"
            if error.reason == "KEY_VALUES_MISMATCH"
            else "is no key, or an encrypted one"
        )
        raise ConfigError([f"{tls.key.where}found something that {why}, wanted the key of the certificate"]) from error


def _trust(context: ssl.SSLContext, pem: Pem) -> None:
    try:
        with _as_file(pem) as path:
            context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError([f"{pem.where}found something else, wanted certificates in PEM"]) from error


@contextlib.contextmanager
def _as_file(pem: Pem) -> Iterator[str]:
    """In memory: OpenSSL, as Python has it, reads keys from files only."""
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, pem.text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def alternative_names(certificate: object) -> frozenset[str]:
    """What getpeercert() gives -> its subject alternative names as Go writes them."""
    entries = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    names = (_address(value) if kind == "IP Address" else value for kind, value in entries if kind in NAMES)
    return frozenset(filter(None, names))


def _address(value: str) -> str:
    """Empty where it is none: a certificate may have an address of five bytes."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return ""
