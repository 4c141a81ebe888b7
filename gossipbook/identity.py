"""Who is speaking: Ed25519 keys, and the one verifier that decides whether a signature holds.

A peer is its 32-byte public key. Signing and verifying go through libsodium (by PyNaCl) and
nothing else: Ed25519 libraries disagree about hostile signatures, and peers that disagreed would
hold different books. `verify` promises an answer for any bytes. A key is kept in a file of three
lines that only its owner may read. This module does not know what is signed.
"""

import os
from typing import Final, NewType, NoReturn

from nacl import bindings
from nacl.exceptions import CryptoError

from gossipbook.errors import UsageError

__all__ = [
    "PEER_ID_SIZE_BYTES",
    "SEED_SIZE_BYTES",
    "SIGNATURE_SIZE_BYTES",
    "Keypair",
    "PeerId",
    "is_valid_peer_id",
    "short",
    "verify",
]

PEER_ID_SIZE_BYTES: Final = 32
SEED_SIZE_BYTES: Final = 32
SIGNATURE_SIZE_BYTES: Final = 64

_KEY_FILE_HEAD: Final = "gossipbook key 1"
_MAX_KEY_FILE_BYTES: Final = 4_096

PeerId = NewType("PeerId", bytes)
"""A peer's Ed25519 public key: 32 bytes."""


class Keypair:
    """A signing key and the `PeerId` that goes with it. Its repr never shows the secret."""

    __slots__ = ("_secret_key", "peer_id")

    def __init__(self, peer_id: PeerId, secret_key: bytes) -> None:
        """For the two makers below: libsodium's 64 secret bytes, the seed and the public key."""
        self.peer_id: Final = peer_id
        self._secret_key: Final = secret_key

    @classmethod
    def generate(cls) -> "Keypair":
        """A fresh key from the operating system's randomness."""
        return cls.from_seed(bindings.randombytes(SEED_SIZE_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> "Keypair":
        """The key that these 32 secret bytes stand for; the same seed gives the same key."""
        if type(seed) is not bytes or len(seed) != SEED_SIZE_BYTES:
            raise UsageError(
                f"a seed is {SEED_SIZE_BYTES} bytes, not {_describe(seed)}; "
                "use Keypair.generate() for a fresh key"
            )
        public_key, secret_key = bindings.crypto_sign_seed_keypair(seed)
        return cls(PeerId(public_key), secret_key)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes to keep, for `from_seed`. Whoever has them can sign as this peer."""
        return self._secret_key[:SEED_SIZE_BYTES]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the key to a new file that only its owner may read (mode 0600).

        Whoever reads the file can sign as this peer. Raises UsageError where the file exists: a key
        is never overwritten; and where it cannot be written.
        """
        text = f"{_KEY_FILE_HEAD}\npeer {self.peer_id.hex()}\nsecret {self.seed.hex()}\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise UsageError(
                f"{os.fspath(path)!r} exists, and a key file is never overwritten; name another, "
                "or move that one away"
            ) from None
        except OSError as error:
            raise UsageError(f"no key can be written to {os.fspath(path)!r}: {error}") from error
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Keypair":
        """The key in a file that `save` wrote.

        Raises UsageError where it cannot be read, is damaged, or may be read by others.
        """
        name = os.fspath(path)
        try:
            with open(path, encoding="ascii") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                    raise UsageError(
                        f"the key in {name!r} may be read by others; run: chmod 600 {name}"
                    )
                lines = file.read(_MAX_KEY_FILE_BYTES).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"no key can be read from {name!r}: {error}") from error
        match [line.split() for line in lines]:
            case [head, ["peer", peer], ["secret", secret]] if head == _KEY_FILE_HEAD.split():
                try:
                    keypair = cls.from_seed(bytes.fromhex(secret))
                except ValueError:
                    keypair = None
                if keypair is not None and keypair.peer_id.hex() == peer:
                    return keypair
                raise UsageError(f"the key file {name!r} is damaged: its two lines do not agree")
        raise UsageError(
            f"{name!r} is not a key file; `gossipbook keygen FILE` or Keypair.save makes one"
        )

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of the message; the same message gives the same signature."""
        signed: bytes = bindings.crypto_sign(message, self._secret_key)
        return signed[:SIGNATURE_SIZE_BYTES]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keypair is not pickled; keep its seed and use Keypair.from_seed")

    def __repr__(self) -> str:
        return f"Keypair(peer_id={short(self.peer_id)}...)"


def verify(peer_id: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the peer signed the message. Any bytes get an answer; nothing is raised.

    False also for a public key of low order or in a second spelling, and for a signature whose
    scalar is not reduced: each signature that holds has one form.
    """
    if len(peer_id) != PEER_ID_SIZE_BYTES or len(signature) != SIGNATURE_SIZE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, peer_id)
    except CryptoError:
        return False
    return True


def is_valid_peer_id(data: bytes) -> bool:
    """Whether these bytes can be a peer's key: a canonical point of the prime-order group."""
    if type(data) is not bytes or len(data) != PEER_ID_SIZE_BYTES:
        return False
    return bool(bindings.crypto_core_ed25519_is_valid_point(data))


def short(peer_id: bytes) -> str:
    """The first eight hexadecimal digits, for people to read; not unique against an adversary."""
    return peer_id[:4].hex()


def _describe(seed: object) -> str:
    return f"{len(seed)} bytes" if type(seed) is bytes else type(seed).__name__
