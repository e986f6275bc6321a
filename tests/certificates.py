"""A certificate authority of our own, made with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from brokers import HOST

# `openssl ca` is the one command that takes both dates in every version of OpenSSL.
CONFIGURATION = """
[ca]
default_ca = here
[here]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = policy
x509_extensions = extensions
[policy]
commonName = supplied
[extensions]
subjectAltName = {names}
"""
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(folder: Path, *arguments: str) -> None:
    """Run it in a folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder: Path) -> Path:
    """Make one in a new folder; returns its certificate. All have one name: they are told apart by their keys alone."""
    folder.mkdir()
    openssl(folder, "req", "-x509", *KEY, "-days", "2", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test authority")
    (folder / "index.txt").touch()
    return folder / "ca.crt"


def certificate(ca: Path, name: str, names: str = f"IP:{HOST}", begin: str = "20200101", end: str = "20990101") -> None:
    """name.crt and name.key beside the authority, for some addresses, good between two days."""
    folder = ca.parent
    (folder / "ca.cnf").write_text(CONFIGURATION.format(names=names))
    openssl(folder, "req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    dates = ["-startdate", f"{begin}000000Z", "-enddate", f"{end}000000Z"]
    signing = ["-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key", "-notext", "-batch"]
    openssl(folder, "ca", *signing, *dates, "-in", f"{name}.csr", "-out", f"{name}.crt")
