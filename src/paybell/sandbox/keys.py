"""The keys of both sides of a simulated channel, made once and kept in a folder."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

_BITS = 2048


class KeyPair:
    """An RSA key as PEM, private and public."""

    def __init__(self, pem: str = "") -> None:
        """Read a private key, or make one."""
        key = (
            serialization.load_pem_private_key(pem.encode(), None)
            if pem
            else rsa.generate_private_key(65537, _BITS)
        )
        assert isinstance(key, rsa.RSAPrivateKey), "only these are written here"
        self._key = key
        self.private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.public = (
            self._key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    @classmethod
    def kept(cls, folder: Path, name: str) -> "KeyPair":
        """Return the pair of this name; its files are ``NAME.pem`` (0600) and ``NAME.public.pem``."""
        private = folder / f"{name}.pem"
        if private.exists():
            return cls(private.read_text())
        pair = cls()
        (folder / f"{name}.public.pem").write_text(pair.public)
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(pair.private)
        return pair

    def certificate(self, name: str, now: datetime, days: int = 1825) -> str:
        """Return a certificate of the key that is valid for so many days, in PEM."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def __repr__(self) -> str:
        return "KeyPair()"
