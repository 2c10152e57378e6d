"""Fake nodes behind something else than TCP."""

from __future__ import annotations

import contextlib
import socket
import ssl
import warnings
from pathlib import Path

from support.fake_node import FakeNode

# Its own authority, for localhost, until 2125.
CERTIFICATE = Path(__file__).with_name("localhost.pem")


class FakeUnixNode(FakeNode):
    """The same on a Unix socket."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def start(self):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._spawn(self._accept, self._listener)
        return self


class FakeTLSNode(FakeNode):
    """The same behind TLS, with the certificate of localhost or another one."""

    certificate: tuple[str | Path, ...] = (CERTIFICATE,)
    newest = ssl.TLSVersion.MAXIMUM_SUPPORTED

    def _serve(self, sock):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        with warnings.catch_warnings():  # versions before 1.2 are deprecated
            warnings.simplefilter("ignore")
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = self.newest
        context.set_ciphers("ALL:@SECLEVEL=0")
        with contextlib.suppress(OSError):  # a client that does not trust us hangs up
            super()._serve(context.wrap_socket(sock, server_side=True))
