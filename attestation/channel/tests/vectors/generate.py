"""Writes a test vector of the channel, one "name hex" a line: the whole of docs/protocol.md §5.4,
§5.7 and §5.8 once more, from ML-KEM, X25519, HMAC and AES-GCM alone. It shares no code with the crate.

    pip install cryptography==50.0.2 && python generate.py 2 > aes256gcm.txt && python generate.py 1 > aes128gcm.txt
"""
import hashlib, hmac, os, sys
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEM, KDF, AEAD = 0x647A, 0x0001, int(sys.argv[1])
NK = {1: 16, 2: 32}[AEAD]
SUITE = b"HPKE" + b"".join(i.to_bytes(2, "big") for i in (KEM, KDF, AEAD))

def extract(salt, ikm):
    return hmac.digest(salt or bytes(32), ikm, "sha256")

def expand(prk, info, length):
    out, block, i = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([i]), "sha256")
        out, i = out + block, i + 1
    return out[:length]

def labeled_extract(salt, label, ikm):  # RFC 9180 §4
    return extract(salt, b"HPKE-v1" + SUITE + label + ikm)

def labeled_expand(prk, label, info, length):
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info, length)

def xwing_keypair(seed):  # draft-connolly-cfrg-xwing-kem §5.2
    wide = hashlib.shake_256(seed).digest(96)
    m, x = MLKEM768PrivateKey.from_seed_bytes(wide[:64]), X25519PrivateKey.from_private_bytes(wide[64:])
    return m.public_key().public_bytes_raw() + x.public_key().public_bytes_raw()

def xwing_encapsulate(pk):  # §5.4
    ss_m, ct_m = MLKEM768PublicKey.from_public_bytes(pk[:1184]).encapsulate()
    ephemeral = X25519PrivateKey.generate()
    ct_x = ephemeral.public_key().public_bytes_raw()
    ss_x = ephemeral.exchange(X25519PublicKey.from_public_bytes(pk[1184:]))
    return hashlib.sha3_256(ss_m + ss_x + ct_x + pk[1184:] + bytes.fromhex("5c2e2f2f5e5c")).digest(), ct_m + ct_x

def varint(n):
    return bytes([n]) if n < 64 else (n | 0x4000).to_bytes(2, "big") if n < 16384 else (n | 0x80000000).to_bytes(4, "big")

def chunks(key, iv, parts):
    out = b""
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        nonce = (int.from_bytes(iv, "big") ^ i).to_bytes(12, "big")
        ct = AESGCM(key).encrypt(nonce, part, b"final" if last else b"")
        out += (b"\0" if last else varint(len(ct))) + ct
    return out

seed, key_id = os.urandom(32), 0x2A
pk = xwing_keypair(seed)
header = bytes([key_id]) + b"".join(i.to_bytes(2, "big") for i in (KEM, KDF, AEAD))
shared, enc = xwing_encapsulate(pk)

info = b"message/bhttp chunked request\0" + header  # RFC 9180 §5.1
context = b"\0" + labeled_extract(b"", b"psk_id_hash", b"") + labeled_extract(b"", b"info_hash", info)
secret = labeled_extract(shared, b"secret", b"")
key, iv = labeled_expand(secret, b"key", context, NK), labeled_expand(secret, b"base_nonce", context, 12)
exporter = labeled_expand(secret, b"exp", context, 32)
export = lambda label, length: labeled_expand(exporter, b"sec", label, length)

question = [b"a question", b"in chunks, of which this one is full".ljust(16384, b"."), b"and an end"]
answer = [b"an", b"answer", b""]
entropy = os.urandom(32)
salt = enc + entropy[:max(12, NK)]
prk = extract(salt, export(b"message/bhttp chunked response", max(12, NK)))
response = entropy[:max(12, NK)] + chunks(expand(prk, b"key", NK), expand(prk, b"nonce", 12), answer)

for name, value in {
    "seed": seed, "public": pk, "request": header + enc + chunks(key, iv, question),
    "question": b"".join(question), "request_digest": hashlib.sha256(header + enc).digest(),
    "replay_key": hashlib.sha256(header[:1] + enc).digest(),
    "blind_req": export(b"veritee receipt req v1", 32), "blind_res": export(b"veritee receipt res v1", 32),
    "blind_par": export(b"veritee receipt par v1", 32), "entropy": entropy, "response": response,
}.items():
    print(name, value.hex())
