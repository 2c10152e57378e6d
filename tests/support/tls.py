"""Certificates for tests of TLS."""

from __future__ import annotations

from pathlib import Path

import trustme


def issue(folder: Path) -> dict[str, str]:
    """Files of certificates and keys: a node's, a client's, and those of one nobody knows."""
    authority, stranger = trustme.CA(), trustme.CA()
    made = {
        "node": authority.issue_cert("127.0.0.1", "localhost"),
        "me": authority.issue_cert("me@example.org"),
        "other": stranger.issue_cert("me@example.org"),
    }
    for name, cert in made.items():
        cert.private_key_pem.write_to_path(folder / f"{name}.key")
        for pem in cert.cert_chain_pems:
            pem.write_to_path(folder / f"{name}.pem", append=True)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return {path.name: str(path) for path in folder.iterdir()}
