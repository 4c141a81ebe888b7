import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipbook.errors import UsageError
from gossipbook.identity import Keypair, is_valid_peer_id, short, verify

# RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701"
            "cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d"
            "0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f7609"
            "84dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]

FIELD_PRIME = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493

# The points of order 1, 2, 4, 4, 8, 8, 8, 8, in the order of their encodings' families.
LOW_ORDER_POINTS = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize(("seed", "public_key", "message", "signature"), RFC_8032)
def test_keys_and_signatures_are_those_of_rfc_8032(seed, public_key, message, signature) -> None:
    keypair = Keypair.from_seed(bytes.fromhex(seed))
    assert keypair.peer_id.hex() == public_key
    assert keypair.sign(bytes.fromhex(message)).hex() == signature
    assert verify(keypair.peer_id, bytes.fromhex(message), bytes.fromhex(signature))
    assert is_valid_peer_id(keypair.peer_id)


@pytest.mark.parametrize("field", ["peer_id", "message", "signature"])
def test_one_flipped_bit_anywhere_breaks_the_signature(field: str) -> None:
    keypair = Keypair.from_seed(bytes(32))
    good = {
        "peer_id": keypair.peer_id,
        "message": b"buy one",
        "signature": keypair.sign(b"buy one"),
    }
    assert verify(**good)
    for bit in range(8 * len(good[field])):
        altered = bytearray(good[field])
        altered[bit // 8] ^= 1 << bit % 8
        assert not verify(**{**good, field: bytes(altered)})


@pytest.mark.parametrize("point", LOW_ORDER_POINTS)
def test_keys_of_low_order_are_refused_whatever_the_signature(point: str) -> None:
    key = bytes.fromhex(point)
    assert not is_valid_peer_id(key)
    # A verifier that takes such keys holds R = identity, S = 0 for good for one in eight messages.
    for number in range(64):
        for other in LOW_ORDER_POINTS:
            assert not verify(key, bytes([number]), bytes.fromhex(other) + bytes(32))


def test_commitments_of_low_order_are_refused() -> None:
    keypair = Keypair.from_seed(bytes(32))
    for point in LOW_ORDER_POINTS:
        assert not verify(keypair.peer_id, b"x", bytes.fromhex(point) + bytes(32))


def test_keys_in_a_second_spelling_are_refused() -> None:
    for above in range(19):
        for sign in (0, 1 << 255):
            key = (FIELD_PRIME + above | sign).to_bytes(32, "little")
            assert not is_valid_peer_id(key)
            assert not verify(key, b"", (1).to_bytes(32, "little") + bytes(32))


def test_a_signature_with_an_unreduced_scalar_is_refused() -> None:
    keypair = Keypair.from_seed(bytes(32))
    signature = keypair.sign(b"x")
    scalar = int.from_bytes(signature[32:], "little")
    for multiple in range(1, 8):
        grown = scalar + multiple * GROUP_ORDER
        assert not verify(keypair.peer_id, b"x", signature[:32] + grown.to_bytes(32, "little"))


def test_a_key_off_the_curve_or_outside_the_prime_order_group_is_no_peer_id() -> None:
    assert not is_valid_peer_id((2).to_bytes(32, "little"))
    # (x, -y) of a good key is the good point plus the point of order two, mirrored.
    good = int.from_bytes(Keypair.from_seed(bytes(32)).peer_id, "little")
    sign, y = good >> 255, good & (1 << 255) - 1
    mixed = (FIELD_PRIME - y | sign << 255).to_bytes(32, "little")
    assert not is_valid_peer_id(mixed)


@given(st.binary(max_size=70), st.binary(max_size=70), st.binary(max_size=130))
@settings(max_examples=200, deadline=None)
def test_any_bytes_get_an_answer(peer_id, message, signature) -> None:
    assert verify(peer_id, message, signature) is False
    assert is_valid_peer_id(peer_id) in (True, False)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
@settings(max_examples=200, deadline=None)
def test_bytes_of_the_right_size_get_an_answer(peer_id, signature) -> None:
    assert verify(peer_id, b"message", signature) is False


def test_a_valid_peer_id_is_32_bytes() -> None:
    good = Keypair.from_seed(bytes(32)).peer_id
    for other in (good[:31], good + b"\0", b"", bytearray(good), good.hex(), None):
        assert not is_valid_peer_id(other)


def test_a_repr_never_shows_the_secret() -> None:
    keypair = Keypair.from_seed(bytes(range(32)))
    for text in (repr(keypair), str(keypair), f"{[keypair]}"):
        assert short(keypair.peer_id) in text
        assert keypair.seed.hex()[:8] not in text
        assert repr(keypair.seed)[2:-1] not in text


def test_a_generated_key_comes_back_from_its_seed() -> None:
    one, other = Keypair.generate(), Keypair.generate()
    assert one.peer_id != other.peer_id
    again = Keypair.from_seed(one.seed)
    assert again.peer_id == one.peer_id
    assert verify(one.peer_id, b"hello", again.sign(b"hello"))
    assert is_valid_peer_id(one.peer_id)


def test_a_keypair_is_not_pickled_by_accident() -> None:
    with pytest.raises(TypeError, match="seed"):
        pickle.dumps(Keypair.generate())


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), bytearray(32), "0" * 32, None, 7])
def test_a_seed_of_another_size_or_type_is_refused(seed) -> None:
    with pytest.raises(UsageError, match="32 bytes") as caught:
        Keypair.from_seed(seed)
    assert "0" * 32 not in str(caught.value)


def test_short_is_the_first_eight_hexadecimal_digits() -> None:
    assert short(bytes(range(0xA0, 0xC0))) == "a0a1a2a3"


def test_a_saved_key_is_loaded_again_and_only_its_owner_may_read_it(tmp_path):
    keypair = Keypair.generate()
    path = tmp_path / "peer.key"
    keypair.save(path)
    assert Keypair.load(path).seed == keypair.seed
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="never overwritten"):
        Keypair.generate().save(path)
    assert Keypair.load(path).seed == keypair.seed


def test_a_key_that_others_may_read_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "peer.key"
    Keypair.generate().save(path)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        Keypair.load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a key file"),
        ("gossipbook key 2\npeer 00\nsecret 00\n", "not a key file"),
        ("gossipbook key 1\npeer 00\nsecret zz\n", "damaged"),
        (f"gossipbook key 1\npeer {'00' * 32}\nsecret {'11' * 32}\n", "damaged"),
        ("gossipbook key 1\npeer 00\nsecret 00\nmore\n", "not a key file"),
    ],
)
def test_what_is_not_a_key_file_is_refused(tmp_path, text, words):
    path = tmp_path / "peer.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(UsageError, match=words):
        Keypair.load(path)


def test_a_key_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.key"):
        Keypair.load(tmp_path / "nowhere.key")
    with pytest.raises(UsageError, match="no key can be written"):
        Keypair.generate().save(tmp_path / "nowhere" / "peer.key")
