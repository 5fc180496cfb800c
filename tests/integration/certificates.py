"""A certificate authority for tests, by the `openssl` command: what it signs is 127.0.0.1's."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

SERVER = "subjectAltName=IP:127.0.0.1"


@dataclass(frozen=True)
class Certificates:
    """PEM files: the authority's certificate, and the server's with its key."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def keystore(self) -> Path:
        """Key and certificate in one file, as Kafka takes them."""
        return self.key.with_name("keystore.pem")


def certificates(directory: Path) -> Certificates:
    """Make an authority and a server's certificate under `directory`."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=30)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*new, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr")
    (directory / "extensions").write_text(SERVER)
    by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions"]
    openssl("x509", "-req", "-in", "server.csr", *by, "-out", "server.pem")
    made = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    made.keystore.write_text(made.key.read_text() + made.certificate.read_text())
    return made
