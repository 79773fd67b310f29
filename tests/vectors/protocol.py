"""docs/protocol.md once more, in another language: it shares no code with the product, and speaks to it through the vectors alone.

The standard library does the hashing; `cryptography` has ML-KEM, X25519, AES-GCM and Ed25519.
"""
import base64
import hashlib
import hmac
import json
import struct

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEM, KDF = 0x647A, 0x0001
ENC_LEN, PUBLIC_LEN, TAG_LEN, CHUNK_MAX = 1120, 1216, 16, 1 << 14


class Refused(Exception):
    """What is refused, by its code."""


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def mac(key, message):
    return hmac.digest(key, message, "sha256")


def u16(n):
    return n.to_bytes(2, "big")


def u64(n):
    return n.to_bytes(8, "big")


def lv16(octets):
    return u16(len(octets)) + octets


# Binding: docs/protocol.md §5.2

LABEL = b"veritee-binding-v1\0"
MEMBERS = [("node_id", 16, False), ("ohttp_keys", 32, False), ("compat_key", 32, True), ("tls_spki", 32, False),
           ("receipt_key", 32, False), ("manifest", 32, False), ("config", 32, False), ("accelerators", 32, True)]


def statement(members, not_before, not_after):
    return LABEL + b"".join(lv16(members[name]) for name, _, _ in MEMBERS) + u64(not_before) + u64(not_after)


def parse_statement(octets):
    if not octets.startswith(LABEL):
        raise Refused("malformed")
    at, members = len(LABEL), {}
    for name, length, optional in MEMBERS:
        announced = int.from_bytes(octets[at:at + 2], "big")
        if len(octets) < at + 2 or not (announced == length or optional and announced == 0):
            raise Refused("malformed")
        members[name] = octets[at + 2:at + 2 + announced]
        at += 2 + announced
    if len(octets) != at + 16:
        raise Refused("malformed")
    window = struct.unpack(">QQ", octets[at:])
    if window[1] <= window[0]:
        raise Refused("malformed")
    return members, *window


def binding_id(octets):
    return sha256(b"veritee-binding-id-v1\0", octets)


def report_data(binding, fresh_type, fresh):
    return hashlib.sha512(b"veritee-report-data-v1\0" + binding + bytes([fresh_type]) + lv16(fresh)).digest()


def accelerator_nonce(node_id, keys_hash):
    return sha256(b"veritee-accel-v1\0", node_id, keys_hash)


# Bundles: docs/protocol.md §5.2, RFC 9999

COLLECTION = ("__cmwc_t", "tag:veritee.dev,2026:evidence")
CPUS = ["application/vnd.veritee.sev-snp-report", "application/vnd.veritee.tdx-quote"]
BUNDLE = {
    "statement": ["application/vnd.veritee.statement"],
    "ohttp_keys": ["application/ohttp-keys"],
    "receipt_key": ["application/cose-key"],
    "manifest": ["application/vnd.veritee.manifest+json"],
    "config": ["application/vnd.veritee.config+toml"],
    "freshness": ["application/vnd.veritee.freshness+json"],
    "cpu0": CPUS,
    "event_log": ["application/vnd.veritee.ccel"],
    "accel": ["application/vnd.veritee.nvidia-evidence+json"],
    "endorsements": ["application/x-pem-file"],
}
OPTIONAL = {"event_log", "accel"}


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def bundle(members):
    """Members are pairs of media type and octets, by label."""
    spelled = {label: [members[label][0], base64url(members[label][1])] for label in BUNDLE if label in members}
    return json.dumps(dict([COLLECTION]) | spelled, separators=(",", ":")).encode()


def parse_bundle(octets):
    try:
        pairs = json.loads(octets, object_pairs_hook=lambda pairs: pairs)
        members = dict(pairs)
        assert len(members) == len(pairs) and members.pop(COLLECTION[0]) == COLLECTION[1]
        assert members.keys() <= BUNDLE.keys() and BUNDLE.keys() - members.keys() <= OPTIONAL
        for label, value in members.items():
            media_type, text = value
            assert type(value) is list and media_type in BUNDLE[label]
            members[label] = media_type, base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            assert base64url(members[label][1]) == text
        assert "event_log" not in members or members["cpu0"][0] == CPUS[1]
    except (AssertionError, ValueError, KeyError, TypeError, AttributeError):
        raise Refused("malformed") from None
    return members


def merkle_root(leaves):
    if len(leaves) == 1:
        return sha256(b"\0", leaves[0])
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1", merkle_root(leaves[:split]), merkle_root(leaves[split:]))


def merkle_path(leaves, index):  # RFC 9162 §2.1.3.1
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return merkle_path(leaves[:split], index) + [merkle_root(leaves[split:])]
    return merkle_path(leaves[split:], index - split) + [merkle_root(leaves[:split])]


def merkle_leads(root, leaf, index, size, path):  # RFC 9162 §2.1.3.2
    if not index < size <= 1024:
        return False
    at, last, current = index, size - 1, sha256(b"\0", leaf)
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            current = sha256(b"\1", sibling, current)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            current = sha256(b"\1", current, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and current == root


# Keys: docs/protocol.md §5.1

def xwing_private(seed):  # draft-connolly-cfrg-xwing-kem §5.2
    wide = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(wide[:64]), X25519PrivateKey.from_private_bytes(wide[64:])


def xwing_public(seed):
    return b"".join(half.public_key().public_bytes_raw() for half in xwing_private(seed))


def xwing_shared(ss_m, ss_x, ct_x, pk_x):
    return hashlib.sha3_256(ss_m + ss_x + ct_x + pk_x + bytes.fromhex("5c2e2f2f5e5c")).digest()


def xwing_encapsulate(public):
    ss_m, ct_m = MLKEM768PublicKey.from_public_bytes(public[:1184]).encapsulate()
    ephemeral = X25519PrivateKey.generate()
    return ct_m + ephemeral.public_key().public_bytes_raw()


def xwing_decapsulate(seed, enc):
    mlkem, x25519 = xwing_private(seed)
    ss_x = x25519.exchange(X25519PublicKey.from_public_bytes(enc[1088:]))
    return xwing_shared(mlkem.decapsulate(enc[:1088]), ss_x, enc[1088:], x25519.public_key().public_bytes_raw())


def ohttp_keys(key_id, public):
    suites = b"".join(u16(KDF) + u16(aead) for aead in (2, 1))
    return lv16(bytes([key_id]) + u16(KEM) + public + lv16(suites))


def parse_ohttp_keys(octets):
    key_id, public = octets[2:3], octets[5:5 + PUBLIC_LEN]
    if len(public) != PUBLIC_LEN or ohttp_keys(key_id[0], public) != octets:
        raise Refused("malformed")
    return key_id[0], public


def cose_key(public):  # RFC 9052 §7, RFC 9053 §7.2
    return cbor({1: 1, -1: 6, -2: public})


def parse_cose_key(octets):
    if cose_key(octets[-32:]) != octets:
        raise Refused("malformed")
    return octets[-32:]


# HPKE: RFC 9180 §4, §5.1

def extract(salt, ikm):
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def expand(prk, info, length):
    out, block = b"", b""
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:length]


class Context:
    def __init__(self, key_id, aead, shared):
        self.suite = b"HPKE" + u16(KEM) + u16(KDF) + u16(aead)
        self.key_len = {1: 16, 2: 32}[aead]
        self.header = bytes([key_id]) + u16(KEM) + u16(KDF) + u16(aead)
        self.info = b"message/bhttp chunked request\0" + self.header
        hashes = self.extract(b"", b"psk_id_hash", b"") + self.extract(b"", b"info_hash", self.info)
        secret = self.extract(shared, b"secret", b"")
        self.key = self.expand(secret, b"key", b"\0" + hashes, self.key_len)
        self.iv = self.expand(secret, b"base_nonce", b"\0" + hashes, 12)
        self.exporter = self.expand(secret, b"exp", b"\0" + hashes, 32)

    def extract(self, salt, label, ikm):
        return extract(salt, b"HPKE-v1" + self.suite + label + ikm)

    def expand(self, prk, label, info, length):
        return expand(prk, u16(length) + b"HPKE-v1" + self.suite + label + info, length)

    def export(self, label, length):
        return self.expand(self.exporter, b"sec", label, length)


# Chunks: docs/protocol.md §5.4, §5.7

def varint(n):
    for size, prefix in (1, 0), (2, 1), (4, 2), (8, 3):
        if n < 1 << 8 * size - 2:
            return (n | prefix << 8 * size - 2).to_bytes(size, "big")


def read_varint(octets):
    size = 1 << (octets[0] >> 6) if octets else 1
    if len(octets) < size:
        raise Refused("response-truncated")
    return int.from_bytes(octets[:size], "big") & (1 << 8 * size - 2) - 1, octets[size:]


def nonce(iv, count):
    return (int.from_bytes(iv, "big") ^ count).to_bytes(12, "big")


def seal_chunk(key, iv, count, plain, last):
    sealed = AESGCM(key).encrypt(nonce(iv, count), plain, b"final" if last else b"")
    return (b"\0" if last else varint(len(sealed))) + sealed


def seal_chunks(key, iv, plains):
    return [seal_chunk(key, iv, i, plain, i == len(plains) - 1) for i, plain in enumerate(plains)]


def open_chunks(key, iv, octets):
    plains = []

    def opened(sealed, aad):
        try:
            plains.append(AESGCM(key).decrypt(nonce(iv, len(plains)), sealed, aad))
        except InvalidTag:
            raise Refused("response-not-authentic") from None

    while True:
        length, octets = read_varint(octets)
        if length == 0:
            if len(octets) < TAG_LEN:
                raise Refused("response-truncated")
            if len(octets) > CHUNK_MAX + TAG_LEN:
                raise Refused("response-framing")
            opened(octets, b"final")
            return plains
        if not TAG_LEN < length <= CHUNK_MAX + TAG_LEN:
            raise Refused("response-framing")
        if len(octets) < length:
            raise Refused("response-truncated")
        opened(octets[:length], b"")
        octets = octets[length:]


def response_keys(aead, enc, secret, response_nonce):
    prk = extract(enc + response_nonce, secret)
    return expand(prk, b"key", {1: 16, 2: 32}[aead]), expand(prk, b"nonce", 12)


# Binary HTTP: RFC 9292; padding: docs/protocol.md §5.4, §5.7

def string(octets):
    return varint(len(octets)) + octets


def lines(fields):
    return b"".join(string(name.encode()) + string(value.encode()) for name, value in fields)


def request_message(control, fields, content):
    parts = [string(part.encode()) for part in control] + [string(lines(fields)), string(content), string(b"")]
    return b"\0" + b"".join(parts)


def request_chunks(message):
    bucket = max(1024, 1 << (len(message) - 1).bit_length())
    padded = message.ljust(bucket, b"\0")
    return [padded[at:at + CHUNK_MAX] for at in range(0, len(padded), CHUNK_MAX)]


def response_head(status, fields):
    head = b"\3" + varint(status) + lines(fields)
    room = 512 - len(head) - 1 - len(string(b"veritee-padding"))
    value = room - (1 if room <= 64 else 2)
    return head + string(b"veritee-padding") + string(b"." * value) + b"\0"


def event_cells(event):
    pieces = [event[at:at + 510] for at in range(0, len(event), 510)]
    # A comment where it fits; an event ends with an empty line.
    fill = lambda n: b"\n" * n if n < 3 else b":" + b"." * (n - 3) + b"\n\n"
    return [string(piece + fill(510 - len(piece))) for piece in pieces]


def json_chunks(body):
    assert len(body) <= 4094, "the vectors are short"
    return [string(body.ljust(4094, b" "))]


def response_final(trailers):
    return (b"\0" + lines(trailers) + b"\0").ljust(1024, b"\0")


# Receipts: docs/protocol.md §5.8

def cbor(value):  # RFC 8949 §4.2.1
    def head(major, n):
        for size, short in (0, 24), (1, 1 << 8), (2, 1 << 16), (4, 1 << 32), (8, 1 << 64):
            if n < short:
                if size == 0:
                    return bytes([major << 5 | n])
                return bytes([major << 5 | 23 + size.bit_length()]) + n.to_bytes(size, "big")
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        for form, first in ("e", 0xF9), ("f", 0xFA), ("d", 0xFB):
            packed = struct.pack(">" + form, value)
            if struct.unpack(">" + form, packed)[0] == value:
                return bytes([first]) + packed
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    return head(5, len(value)) + b"".join(key + item for key, item in sorted((cbor(k), cbor(v)) for k, v in value.items()))


def receipt_payload(claims):
    return cbor({1: "veritee-receipt-v1", **claims})


def protected(kid):
    return cbor({1: -19, 4: kid})


def to_be_signed(kid, payload):
    return cbor(["Signature1", protected(kid), b"", payload])


def signed_receipt(kid, payload, signature):
    return b"\xd2" + cbor([protected(kid), {}, payload, signature])


def sign_receipt(seed, payload):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    kid = sha256(cose_key(key.public_key().public_bytes_raw()))
    return signed_receipt(kid, payload, key.sign(to_be_signed(kid, payload)))


def receipt_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def check_receipt(octets, public, transcript):
    """The claims, or the code of the first check that fails, in the verifier's order. The claims' lengths are fixed."""
    kid_at = octets.find(b"\x04\x58\x20") + 3
    kid = octets[kid_at:kid_at + 32]
    body = octets[len(b"\xd2\x84") + len(cbor(protected(kid))) + 1:]
    try:
        length, at = (body[1], 2) if body[0] == 0x58 else (int.from_bytes(body[1:3], "big"), 3)
        payload, signature = body[at:at + length], body[at + length + 2:]
    except IndexError:
        raise Refused("receipt-malformed") from None
    if len(signature) != 64 or signed_receipt(kid, payload, signature) != octets:
        raise Refused("receipt-malformed")
    if kid != sha256(cose_key(public)):
        raise Refused("receipt-other-key")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, to_be_signed(kid, payload))
    except InvalidSignature:
        raise Refused("receipt-signature-invalid") from None
    claims = uncbor(payload)
    if not isinstance(claims, dict) or receipt_payload({k: v for k, v in claims.items() if k != 1}) != payload:
        raise Refused("receipt-malformed")
    if list(claims) != list(range(1, 14)) or claims[8] not in ("stop", "length", "aborted", "error", "none") \
            or claims[10] not in ("bound", "unbound"):
        raise Refused("receipt-malformed")
    if any(claims[number] != seen for number, seen in transcript.items()):
        raise Refused("receipt-mismatch")
    if claims[10] != "bound":
        raise Refused("receipt-unbound")
    return claims


def uncbor(octets):
    """One item, in any order of keys: the caller compares with the deterministic encoding."""
    def item(at):
        major, short = octets[at] >> 5, octets[at] & 31
        size = 0 if short < 24 else 1 << short - 24
        n = short if size == 0 else int.from_bytes(octets[at + 1:at + 1 + size], "big")
        at += 1 + size
        if major in (0, 1):
            return (n if major == 0 else -1 - n), at
        if major in (2, 3):
            return (octets[at:at + n] if major == 2 else octets[at:at + n].decode()), at + n
        if major == 4:
            out = []
            for _ in range(n):
                value, at = item(at)
                out.append(value)
            return out, at
        out = {}
        for _ in range(n):
            key, at = item(at)
            out[key], at = item(at)
        return out, at
    try:
        value, end = item(0)
    except (IndexError, UnicodeDecodeError):
        raise Refused("receipt-malformed") from None
    return value if end == len(octets) else None
