"""A relying party of its own, on nothing but Python and `cryptography`: asks a service for verdicts and believes none that it
cannot verify (RFC 7515, 7517, 7519, 7638; draft-ietf-rats-ear-04, draft-ietf-rats-ar4si).

Reads {"service", "algorithm", "now", "challenge", "asked": [{"body", "verdict", "key"}]} from standard input.
"""
import base64
import binascii
import hashlib
import json
import re
import sys
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

ALGORITHMS = {"ES256": (ec.SECP256R1(), "P-256", 32, SHA256()), "ES384": (ec.SECP384R1(), "P-384", 48, SHA384())}
CATEGORIES = {"instance-identity", "configuration", "executables", "file-system", "hardware", "runtime-opaque",
              "storage-opaque", "sourced-data"}
TIERS = ["affirming", "warning", "none", "contraindicated"]


class Refused(Exception):
    pass


def need(holds, why):
    if not holds:
        raise Refused(why)


def unbase64url(text):
    """RFC 7515 §2: no padding, no other alphabet, and no two spellings of the same octets."""
    need(re.fullmatch(r"[A-Za-z0-9_-]*", text), "not base64url")
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise Refused("not base64url") from error
    need(base64url(octets) == text, "base64url in two ways")
    return octets


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def unique(pairs):
    """RFC 7515 §4, RFC 7519 §4: names within an object are unique."""
    members = dict(pairs)
    need(len(members) == len(pairs), "a name twice")
    return members


def parse(octets):
    try:
        value = json.loads(octets.decode(), object_pairs_hook=unique)
    except ValueError as error:
        raise Refused("not JSON") from error
    need(isinstance(value, dict), "no object")
    return value


def public_key(jwk):
    """RFC 7517 §4, RFC 7518 §6.2, and the thumbprint of RFC 7638 §3 as its name."""
    curve, name, width, _ = ALGORITHMS[jwk["alg"]]
    need((jwk["kty"], jwk["crv"], jwk["use"]) == ("EC", name, "sig"), "a key of another kind")
    need("d" not in jwk, "a private key")
    x, y = unbase64url(jwk["x"]), unbase64url(jwk["y"])
    need(len(x) == len(y) == width, "a coordinate of another width")
    required = {member: jwk[member] for member in ("crv", "kty", "x", "y")}
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":")).encode()
    need(jwk["kid"] == base64url(hashlib.sha256(canonical).digest()), "a name that is no thumbprint")
    # Refuses what is no point of the curve.
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve).public_key()


def verify(token, jwks, algorithm):
    """The claims of a token that one of `jwks` signed by `algorithm`."""
    parts = token.split(".")
    need(len(parts) == 3, "no compact JWS")
    header, claims, signature = map(unbase64url, parts)
    header = parse(header)
    need(header.keys() == {"alg", "typ", "kid"}, "another header")
    need(header["alg"] == algorithm and header["typ"] == "eat+jwt", "another algorithm or type")
    keys = [key for key in jwks["keys"] if key["kid"] == header["kid"]]
    need(len(keys) == 1 and keys[0]["alg"] == algorithm, "an unknown key")
    _, _, width, digest = ALGORITHMS[algorithm]
    need(len(signature) == 2 * width, "a signature of another width")
    r, s = int.from_bytes(signature[:width]), int.from_bytes(signature[width:])
    try:
        public_key(keys[0]).verify(
            utils.encode_dss_signature(r, s), token.rpartition(".")[0].encode(), ec.ECDSA(digest))
    except InvalidSignature as error:
        raise Refused("not signed by that key") from error
    return parse(claims)


def tier(value):
    """draft-ietf-rats-ar4si §3.2: a signed octet."""
    need(isinstance(value, int) and not isinstance(value, bool) and -128 <= value <= 127, "no value of a vector")
    bounds = [(range(-1, 2), "none"), (range(-32, 32), "affirming"), (range(-96, 96), "warning")]
    return next((name for values, name in bounds if value in values), "contraindicated")


def check_shape(claims, given, asked):
    need(claims["eat_profile"] == "tag:ietf.org,2026:rats/ear#04", "another profile")
    need(claims["iat"] == given["now"] and 0 <= claims["exp"] - claims["iat"] <= 300, "another time, or too long a one")
    need(unbase64url(claims["eat_nonce"]).hex() == given["challenge"], "another challenge")
    verifier = claims["ear_verifier_id"]
    need(verifier.keys() == {"developer", "build"} and all(verifier.values()), "nobody's verdict")
    need(claims["submods"], "no submodule")
    tiers = []
    for name, submod in claims["submods"].items():
        need(re.fullmatch(r"(cpu|gpu|switch)\d+|workload", name), f"{name} is no submodule")
        vector = submod["ear_trustworthiness_vector"]
        need(vector and vector.keys() <= CATEGORIES, "another vector")
        worst = max(map(TIERS.index, map(tier, vector.values())))
        need(submod["ear_status"] in TIERS and TIERS.index(submod["ear_status"]) >= worst, "better than its vector")
        [policy] = submod["ear_appraisal_policy_ids"]
        need(re.fullmatch(r"sha256:[0-9a-f]{64}", policy), "no policy")
        tiers.append(TIERS.index(submod["ear_status"]))
    need(claims["ear_status"] == TIERS[max(tiers)], "not the worst of its submodules")
    need(claims["veritee"]["verdict"] == asked["verdict"], "another verdict")
    if asked["verdict"] == "accepted":
        need(claims["ear_status"] in ("affirming", "warning"), "accepted, and not")
        need(claims["cnf"] == {"kid": asked["key"]}, "another key is confirmed")
    else:
        need(claims["ear_status"] in ("none", "contraindicated") and "cnf" not in claims, "refused, and not")


def flipped(token):
    """The token with one bit flipped, at every octet of its signature and all over the rest."""
    parts = [bytearray(unbase64url(part)) for part in token.split(".")]
    for which, octets in enumerate(parts):
        step = 1 if which == 2 else max(1, len(octets) // 40)
        for place in range(0, len(octets), step):
            octets[place] ^= 1 << place % 8
            yield ".".join(base64url(part) for part in parts)
            octets[place] ^= 1 << place % 8


def fetch(url, body=None, accept="application/json"):
    headers = {"accept": accept} | ({} if body is None else {"content-type": "application/json"})
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["content-type"], answer.read()


def main():
    given = json.load(sys.stdin)
    media_type, jwks = fetch(given["service"] + "/.well-known/jwks.json", accept="application/jwk-set+json")
    need(media_type == "application/jwk-set+json", "no JWK set")
    jwks = parse(jwks)
    refused = 0
    for asked in given["asked"]:
        media_type, token = fetch(given["service"] + "/v1/appraise", asked["body"], "application/eat+jwt")
        need(media_type == 'application/eat+jwt; eat_profile="tag:ietf.org,2026:rats/ear#04"', "no token")
        token = token.decode()
        check_shape(verify(token, jwks, given["algorithm"]), given, asked)
        for other in flipped(token):
            try:
                verify(other, jwks, given["algorithm"])
            except Refused:
                refused += 1
            else:
                raise Refused("a flipped bit is not noticed")
        # Another key under the same name; the same key under another algorithm.
        strangers = ec.generate_private_key(ALGORITHMS[given["algorithm"]][0]).public_key().public_numbers()
        width = ALGORITHMS[given["algorithm"]][2]
        forged = dict(jwks["keys"][0], x=base64url(strangers.x.to_bytes(width)), y=base64url(strangers.y.to_bytes(width)))
        for keys in ([forged], [], [dict(jwks["keys"][0], alg="ES512")]):
            try:
                verify(token, {"keys": keys}, given["algorithm"])
            except Refused:
                continue
            raise Refused("a stranger's key will do")
    print(f"{len(given['asked'])} tokens, {refused} with a flipped bit refused")


main()
