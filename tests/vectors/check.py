"""Checks every vector with the second implementation in protocol.py; `check.py --write` writes them.

A case is one JSON file, <area>/NNN-name.json: 0xx is accepted and has an output; the others have one defect each and are
refused (1xx malformed, 3xx bind, 5xx channel, 6xx receipt). All octets are lower-case hex. Everything is fixed but `enc`, which
encapsulation draws at random when a case is first written and which stays as it is from then on.
"""
import json
import pathlib
import sys

import protocol as p
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

HERE = pathlib.Path(__file__).parent
unhex = bytes.fromhex


def digest(n):
    return bytes([n]) * 32


# What a case's input means

def statement(given):
    members = {name: unhex(given[name]) for name, _, _ in p.MEMBERS}
    octets = p.statement(members, given["not_before"], given["not_after"])
    assert p.parse_statement(octets) == (members, given["not_before"], given["not_after"])
    fresh, out = given["freshness"], {}
    if fresh["type"] == "none":
        fresh_type, value = 0, b""
    elif fresh["type"] == "challenge":
        fresh_type, value = 1, unhex(fresh["challenge"])
    else:
        leaves, index = [unhex(leaf) for leaf in fresh["challenges"]], fresh["index"]
        fresh_type, value, path = 3, p.merkle_root(leaves), p.merkle_path(leaves, index)
        assert p.merkle_leads(value, leaves[index], index, len(leaves), path)
        out = {"root": value.hex(), "path": [sibling.hex() for sibling in path]}
    binding = p.binding_id(octets)
    return {"statement": octets.hex(), "binding_id": binding.hex(),
            "report_data": p.report_data(binding, fresh_type, value).hex(), **out}


def malformed_statement(given):
    p.parse_statement(unhex(given["statement"]))


def merkle(given):
    path = [unhex(sibling) for sibling in given["path"]]
    if not p.merkle_leads(unhex(given["root"]), unhex(given["challenge"]), given["index"], given["size"], path):
        raise p.Refused("challenge-not-answered")


def accelerator_nonce(given):
    return {"nonce": p.accelerator_nonce(unhex(given["node_id"]), unhex(given["ohttp_keys"])).hex()}


def bundle(given):
    members = {label: (media_type, unhex(octets)) for label, (media_type, octets) in given.items()}
    octets = p.bundle(members)
    assert p.parse_bundle(octets) == members
    return {"bundle": octets.decode()}


def refused_bundle(given):
    p.parse_bundle(given["bundle"].encode())


def sealing_key(given):
    public = p.xwing_public(unhex(given["seed"]))
    octets = p.ohttp_keys(given["key_id"], public)
    assert p.parse_ohttp_keys(octets) == (given["key_id"], public)
    return {"public": public.hex(), "ohttp_keys": octets.hex(), "sha256": p.sha256(octets).hex()}


def malformed_sealing_key(given):
    p.parse_ohttp_keys(unhex(given["ohttp_keys"]))


def receipt_key(given):
    public = p.receipt_public(unhex(given["seed"]))
    octets = p.cose_key(public)
    assert p.parse_cose_key(octets) == public
    return {"public": public.hex(), "cose_key": octets.hex(), "thumbprint": p.sha256(octets).hex()}


def malformed_receipt_key(given):
    p.parse_cose_key(unhex(given["cose_key"]))


def exchange(given):
    seed, enc, aead = unhex(given["seed"]), unhex(given["enc"]), given["aead"]
    context = p.Context(given["key_id"], aead, p.xwing_decapsulate(seed, enc))
    control = [given["request"][name] for name in ("method", "scheme", "authority", "path")]
    message = p.request_message(control, given["request"]["fields"], given["request"]["content"].encode())
    chunks = p.seal_chunks(context.key, context.iv, p.request_chunks(message))

    # A third party's HPKE and X-Wing: it opens one message, so it opens the first chunk.
    first = chunks[0].split(b"\0", 1)[1] if len(chunks) == 1 else p.read_varint(chunks[0])[1]
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, {1: AEAD.AES_128_GCM, 2: AEAD.AES_256_GCM}[aead])
    private = MLKEM768X25519PrivateKey(*p.xwing_private(seed))
    if len(chunks) > 1:  # it takes no AAD, and a lone chunk is final
        assert suite.decrypt(enc + first, private, info=context.info) == p.request_chunks(message)[0]
    public = p.xwing_public(seed)
    halves = MLKEM768PublicKey.from_public_bytes(public[:1184]), X25519PublicKey.from_public_bytes(public[1184:])
    theirs = suite.encrypt(b"theirs", MLKEM768X25519PublicKey(*halves), info=context.info)
    ours = p.Context(given["key_id"], aead, p.xwing_decapsulate(seed, theirs[:p.ENC_LEN]))
    assert p.open_chunks(ours.key, ours.iv, p.varint(6 + p.TAG_LEN) + theirs[p.ENC_LEN:] + b"\0"
                         + p.seal_chunk(ours.key, ours.iv, 1, b"", True)[1:]) == [b"theirs", b""]

    secret = context.export(b"message/bhttp chunked response", context.key_len)
    entropy = unhex(given["entropy"])[:context.key_len]
    key, iv = p.response_keys(aead, enc, secret, entropy)
    answer = given["answer"]
    content = answer["content"].encode()
    plains = [p.response_head(answer["status"], answer["fields"])]
    plains += p.event_cells(content) if answer["stream"] else p.json_chunks(content)
    final = p.response_final(answer["trailers"])
    sealed = entropy + b"".join(p.seal_chunks(key, iv, plains + [final]))
    assert p.open_chunks(key, iv, sealed[len(entropy):]) == plains + [final]
    blinds = {name: context.export(f"veritee receipt {name} v1".encode(), 32) for name in ("req", "res", "par")}
    return {
        "header": context.header.hex(), "info": context.info.hex(), "message": message.hex(),
        "request": (context.header + enc + b"".join(chunks)).hex(),
        "request_digest": p.sha256(context.header, enc).hex(),
        "replay_key": p.sha256(context.header[:1], enc).hex(),
        **{f"blind_{name}": blind.hex() for name, blind in blinds.items()},
        "response_secret": secret.hex(), "response_key": key.hex(), "response_iv": iv.hex(), "response": sealed.hex(),
        "req_mac": p.mac(blinds["req"], message).hex(),
        "res_mac": p.mac(blinds["res"], b"".join(plains) + b"\0").hex(),
    }


def response(given):
    aead, octets = given["aead"], unhex(given["response"])
    length = {1: 16, 2: 32}[aead]
    key, iv = p.response_keys(aead, unhex(given["enc"]), unhex(given["secret"]), octets[:length])
    p.open_chunks(key, iv, octets[length:])


def claims(given):
    names = ["binding_id", "request", "req_mac", "res_mac", "manifest"]
    out = {number: unhex(given[name]) for number, name in enumerate(names, 2)}
    return out | {7: given["usage"], 8: given["finish"], 9: given["times"], 10: given["bound"],
                  11: unhex(given["par_mac"]), 12: given["seq"], 13: unhex(given["previous"])}


def transcript(given):
    numbers = {"binding_id": 2, "request": 3, "req_mac": 4, "res_mac": 5, "manifest": 6, "par_mac": 11}
    return {number: unhex(given[name]) for name, number in numbers.items()}


def receipt(given):
    parameters = p.cbor(given["parameters"])
    commitments = {"par_mac": p.mac(unhex(given["blind_par"]), parameters).hex()}
    payload = p.receipt_payload(claims(given["claims"] | commitments))
    signed = p.sign_receipt(unhex(given["seed"]), payload)
    public = p.receipt_public(unhex(given["seed"]))
    seen = transcript(given["claims"] | commitments)
    assert p.check_receipt(signed, public, seen)[12] == given["claims"]["seq"]
    kid = p.sha256(p.cose_key(public))
    return {"parameters": parameters.hex(), **commitments, "payload": payload.hex(), "signed": signed.hex(),
            "to_be_signed": p.to_be_signed(kid, payload).hex(), "sha256": p.sha256(signed).hex()}


def refused_receipt(given):
    p.check_receipt(unhex(given["receipt"]), p.receipt_public(unhex(given["seed"])), transcript(given["transcript"]))


JUDGES = {f.__name__: f for f in (statement, malformed_statement, merkle, accelerator_nonce, bundle, refused_bundle, sealing_key, malformed_sealing_key, receipt_key,
                                  malformed_receipt_key, exchange, response, receipt, refused_receipt)}


def judge(case):
    """The case's output, or the code of its refusal."""
    try:
        return JUDGES[case["kind"]](case["input"]), "accepted"
    except p.Refused as refused:
        return None, str(refused)


def check():
    files = sorted(HERE.glob("*/*.json"))
    for file in files:
        case = json.loads(file.read_text())
        output, verdict = judge(case)
        assert verdict == case["expect"], f"{file}: expected {case['expect']}, found {verdict}"
        assert (verdict == "accepted") == file.name.startswith("0"), f"{file}: numbered as another kind"
        for name, value in (output or {}).items():
            assert case["output"][name] == value, f"{file}: {name} differs"
        assert set(output or {}) == set(case.get("output", {})), f"{file}: an output that nobody checks"
    print(len(files), "vectors")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        import write
        write.all_of_them(HERE, judge)
    check()
