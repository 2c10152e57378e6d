"""Files with certificates and keys, for either end of TLS, and what is wrong with them.

Whose settings they are is for the caller to say.
"""

from __future__ import annotations

import ssl


class CertificateError(ValueError):
    """A file that cannot be used as what it was given for; the text says why."""

    def __init__(self, role: str, text: str) -> None:
        """Say so of the ``cert``, the ``key`` or the ``ca``."""
        super().__init__(text)
        self.role = role


def for_server(cert: str, key: str, ca: str) -> ssl.SSLContext:
    """How to speak TLS with clients; with an authority they need its certificates.

    Raises:
        CertificateError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, cert, key, ca)
    if ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def for_client(cert: str, key: str, ca: str) -> ssl.SSLContext:
    """How to speak TLS with a server, whose certificate the authority has to have signed.

    Without one the system's authorities count; without a certificate none is shown.

    Raises:
        CertificateError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not ca:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    _load(context, cert, key, ca)
    return context


def _load(context: ssl.SSLContext, cert: str, key: str, ca: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for role, path in (("cert", cert), ("key", key), ("ca", ca)):
        _check_file(role, path)
    if cert:
        _show(context, cert, key or cert)
    if ca:
        _believe(context, ca)


def _check_file(role: str, path: str) -> None:
    try:
        if path:
            open(path, "rb").close()  # noqa: PTH123 - only whether it can be
    except OSError as error:
        raise CertificateError(role, f"{path} cannot be read: {error.strerror}") from None


def _show(context: ssl.SSLContext, cert: str, key: str) -> None:
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError("key", f"{cert} and {key} do not go together: {error}") from None


def _no_passphrase() -> str:
    raise ValueError("the key wants a passphrase, and nobody is there to type it")


def _believe(context: ssl.SSLContext, ca: str) -> None:
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise CertificateError("ca", f"{ca} holds no certificate: {error}") from None
