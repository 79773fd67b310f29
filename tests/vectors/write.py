"""The cases: what is accepted as data, and what is refused as one change to it."""
import json

import protocol as p

SEED = bytes(range(32)).hex()
RECEIPT_SEED = (bytes([9]) * 32).hex()


def same(n, length=32):
    return (bytes([n]) * length).hex()


MEMBERS = {"node_id": same(1, 16), "ohttp_keys": same(2), "compat_key": "", "tls_spki": same(3), "receipt_key": same(4),
           "manifest": same(5), "config": same(6), "accelerators": ""}
WINDOW = {"not_before": 1_800_000_000, "not_after": 1_800_003_600}
CHALLENGE = {"type": "challenge", "challenge": same(0xC4)}


def batch(size, index):
    return {"type": "batch", "challenges": [p.sha256(b"%d" % n).hex() for n in range(size)], "index": index}


def all_of_them(folder, judge):
    def put(name, kind, expect, note, given):
        file = folder / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        case = {"note": note, "kind": kind, "expect": expect, "input": given}
        output, verdict = judge(case)
        assert verdict == expect, f"{name}: expected {expect}, found {verdict}"
        if output:
            case["output"] = output
        file.write_text(json.dumps(case, indent=1, ensure_ascii=False) + "\n")
        return output

    statements(put)
    bundles(put)
    keys(put)
    receipts(put, channel(put, folder))


def statements(put):
    plain = {**MEMBERS, **WINDOW}
    put("binding/000-cached", "statement", "accepted", "Cached evidence answers no challenge.",
        {**plain, "freshness": {"type": "none"}})
    first = put("binding/001-challenge", "statement", "accepted", "One challenge.", {**plain, "freshness": CHALLENGE})
    every = {**plain, "compat_key": same(7), "accelerators": same(8)}
    put("binding/002-every-member", "statement", "accepted", "The two optional members are there.",
        {**every, "freshness": CHALLENGE})
    for number, (size, index) in enumerate([(1, 0), (2, 1), (7, 6), (8, 3), (1000, 999)], 10):
        last = put(f"binding/{number:03}-challenge-{index}-of-{size}", "statement", "accepted",
                   "A batch of challenges; the path leads from one of them to the root.",
                   {**plain, "freshness": batch(size, index)})
    octets = bytes.fromhex(first["statement"])
    cut = len(p.LABEL)
    for number, (name, note, changed) in enumerate([
        ("another-label", "The label names another version.", octets.replace(b"-v1\0", b"-v2\0")),
        ("label-without-its-zero", "The zero after the label is missing.", octets.replace(b"-v1\0", b"-v1")),
        ("node-id-too-short", "The node id has 15 octets.", octets[:cut] + p.lv16(bytes(15)) + octets[cut + 18:]),
        ("compat-key-of-31", "A compatibility key has 0 or 32 octets.",
         octets[:cut + 52] + p.lv16(bytes(31)) + octets[cut + 54:]),
        ("hash-left-out", "The hash of the keys has no octets.", octets[:cut + 18] + p.lv16(b"") + octets[cut + 52:]),
        ("window-reversed", "The window ends before it starts.", octets[:-16] + octets[-8:] + octets[-16:-8]),
        ("window-empty", "The window ends when it starts.", octets[:-8] + octets[-16:-8]),
        ("truncated", "The last octet is missing.", octets[:-1]),
        ("trailing-octet", "An octet follows the end.", octets + b"\0"),
        ("empty", "There is nothing.", b""),
    ], 100):
        put(f"binding/{number}-{name}", "malformed_statement", "malformed", note, {"statement": changed.hex()})
    root, path = last["root"], last["path"]
    leaf = batch(1000, 999)["challenges"]
    good = {"root": root, "challenge": leaf[999], "index": 999, "size": 1000, "path": path}
    for number, (name, note, change) in enumerate([
        ("another-challenge", "The path is that of another challenge.", {"challenge": leaf[998]}),
        ("another-index", "The challenge stands elsewhere.", {"index": 998}),
        ("index-is-the-size", "The index is outside the batch.", {"index": 1000}),
        ("path-too-short", "The nearest sibling is missing.", {"path": path[1:]}),
        ("path-too-long", "A sibling follows the root.", {"path": path + [root]}),
        ("path-reversed", "The siblings are in the wrong order.", {"path": path[::-1]}),
        ("batch-too-large", "A batch has at most 1,024 challenges.", {"size": 1025, "index": 1024}),
    ], 300):
        put(f"binding/{number}-{name}", "merkle", "challenge-not-answered", note, good | change)


def bundles(put):
    put("evidence/000-accelerator-nonce", "accelerator_nonce", "accepted", "What the accelerators of one epoch sign.",
        {"node_id": same(1, 16), "ohttp_keys": same(2)})
    always = {"statement": same(1, 5), "ohttp_keys": same(2, 4), "receipt_key": same(3, 3), "manifest": b"{}".hex(),
              "config": b"a = 1\n".hex(), "freshness": b'{"type":"none"}'.hex(), "cpu0": same(0xFB, 5), "endorsements": ""}
    of = lambda cpu, members: {label: [p.BUNDLE[label][cpu if label == "cpu0" else 0], octets]
                               for label, octets in members.items()}
    log, accel = {"event_log": same(0xFF, 2)}, {"accel": b"[]".hex()}
    for number, (name, note, given) in enumerate([
        ("sev-snp", "A SEV-SNP report, and nothing optional.", of(0, always)),
        ("tdx", "A TDX quote without its event log.", of(1, always)),
        ("tdx-event-log", "A TDX quote with its event log.", of(1, always | log)),
        ("sev-snp-accelerators", "A SEV-SNP report beside accelerators.", of(0, always | accel)),
        ("every-member", "Both optional members.", of(1, always | log | accel)),
    ], 1):
        full = put(f"evidence/{number:03}-{name}", "bundle", "accepted", note, given)["bundle"]
    without = json.loads(full)
    del without["freshness"]
    for number, (name, note, changed) in enumerate([
        ("member-missing", "There is no freshness.", json.dumps(without)),
        ("another-collection", "The collection is of another type.", full.replace("2026:evidence", "2027:evidence")),
        ("collection-untyped", "The collection names no type.", full.replace('"__cmwc_t":"tag:veritee.dev,2026:evidence",', "")),
        ("unknown-member", "There is a member that nobody knows.", full.replace('{', '{"accel0":["application/x","AA"],', 1)),
        ("member-twice", "The accelerators come twice.", full.replace('{', '{"accel":["%s","W10"],' % p.BUNDLE["accel"][0], 1)),
        ("cpu-of-another-type", "The CPU's evidence is of no known type.", full.replace("veritee.tdx-quote", "veritee.quote")),
        ("accelerators-of-another-type", "The accelerators' evidence is of another type.",
         full.replace("nvidia-evidence+json", "nvidia-evidence")),
        ("event-log-beside-snp", "SEV-SNP has no registers for an event log.", full.replace(p.CPUS[1], p.CPUS[0])),
        ("padded-base64", "A member has base64 padding.", full.replace('"W10"', '"W10="')),
        ("standard-base64", "A member is in the alphabet with + and /.", full.replace("-_", "+/")),
        ("spare-bits", "The last character of a member has bits that mean nothing.", full.replace('"__8"', '"__9"')),
        ("third-value", "A member has a third value.", full.replace('"W10"]', '"W10",0]')),
        ("an-object-more", "An object follows the bundle.", full + "{}"),
    ], 100):
        assert changed != full, name
        put(f"evidence/{number}-{name}", "refused_bundle", "malformed", note, {"bundle": changed})


def keys(put):
    sealing = put("keys/000-sealing-key", "sealing_key", "accepted", "An X-Wing key and its application/ohttp-keys.",
                  {"seed": SEED, "key_id": 0x2A})
    receipt = put("keys/001-receipt-key", "receipt_key", "accepted", "An Ed25519 key, its COSE_Key and thumbprint (RFC 9679).",
                  {"seed": RECEIPT_SEED})
    octets = bytes.fromhex(sealing["ohttp_keys"])
    inner = octets[2:]
    for number, (name, note, changed) in enumerate([
        ("two-configurations", "The list has a second configuration.", octets + octets),
        ("another-kem", "The KEM is X25519.", octets[:3] + p.u16(0x0020) + octets[5:]),
        ("suites-reordered", "AES-128-GCM comes first.", octets[:-8] + octets[-4:] + octets[-8:-4]),
        ("one-suite", "Only AES-128-GCM is offered.", p.lv16(inner[:-10] + p.lv16(octets[-4:]))),
        ("without-list-length", "The configuration stands alone.", inner),
        ("length-too-small", "The length of the configuration leaves its last octet out.", p.u16(len(inner) - 1) + inner),
        ("truncated", "The last octet is missing.", octets[:-1]),
    ], 100):
        put(f"keys/{number}-{name}", "malformed_sealing_key", "malformed", note, {"ohttp_keys": changed.hex()})
    octets, public = bytes.fromhex(receipt["cose_key"]), bytes.fromhex(receipt["public"])
    for number, (name, note, changed) in enumerate([
        ("members-reordered", "The members are not in deterministic order.", b"\xa3\x20\x06\x01\x01\x21\x58\x20" + public),
        ("another-curve", "The curve is X25519.", p.cbor({1: 1, -1: 4, -2: public})),
        ("a-member-more", "The key names its algorithm too.", p.cbor({1: 1, 3: -19, -1: 6, -2: public})),
        ("key-too-short", "The key has 31 octets.", p.cbor({1: 1, -1: 6, -2: public[1:]})),
        ("trailing-octet", "An octet follows the end.", octets + b"\0"),
    ], 110):
        put(f"keys/{number}-{name}", "malformed_receipt_key", "malformed", note, {"cose_key": changed.hex()})


def channel(put, folder):
    question = {"method": "POST", "scheme": "https", "authority": same(1, 16) + ".veritee.invalid",
                "path": "/v1/chat/completions",
                "fields": [["content-type", "application/json"], ["veritee-binding", same(2)], ["veritee-tenant", same(3)]]}
    stream = {"status": 200, "stream": True, "fields": [["content-type", "text/event-stream"]],
              "content": 'data: {"choices":[{"delta":{"content":"a word"}}]}\n\n', "trailers": [["veritee-status", "stop"]]}
    whole = {**stream, "stream": False, "fields": [["content-type", "application/json"]], "content": '{"choices":[]}'}
    long = '{"model":"m","stream":true,"messages":[{"role":"user","content":"' + "long " * 4000 + '"}]}'
    outputs = []
    for number, name, note, aead, content, answer in [
        (0, "stream", "X-Wing with AES-256-GCM; one chunk, and a stream.", 2, '{"model":"m","stream":true}', stream),
        (1, "long-request", "Several chunks; the answer is one JSON value.", 2, long, whole),
        (2, "aes-128-gcm", "The suite of third parties, with shorter keys.", 1, long, stream),
    ]:
        file = folder / f"channel/{number:03}-{name}.json"
        enc = json.loads(file.read_text())["input"]["enc"] if file.exists() \
            else p.xwing_encapsulate(p.xwing_public(bytes.fromhex(SEED))).hex()
        given = {"seed": SEED, "key_id": 0x2A, "aead": aead, "enc": enc, "entropy": same(0x77 + number),
                 "request": {**question, "content": content}, "answer": answer}
        outputs.append((enc, put(f"channel/{number:03}-{name}", "exchange", "accepted", note, given)))
    refused_responses(put, *outputs[0], outputs[1][0])
    return outputs[0][1]


def refused_responses(put, enc, output, other_enc):
    key, iv = bytes.fromhex(output["response_key"]), bytes.fromhex(output["response_iv"])
    start = bytes.fromhex(output["response"])[:32]
    one, two, last = (lambda plains: p.seal_chunks(key, iv, plains))([b"one" * 10, b"two" * 10, b"the end"])
    empty = p.seal_chunks(key, iv, [b"", b"the end"])
    long = p.seal_chunks(key, iv, [bytes(p.CHUNK_MAX + 1), b"the end"])
    flipped = bytearray(two)
    flipped[5] ^= 1
    cut, forged, framed = "response-truncated", "response-not-authentic", "response-framing"
    for number, (name, expect, note, frames) in enumerate([
        ("nonce-alone", cut, "There is no chunk.", []),
        ("final-chunk-left-out", cut, "The stream ends where a chunk ends.", [one, two]),
        ("cut-in-a-length", cut, "The stream ends after the mark of the final chunk.", [one, two, last[:1]]),
        ("cut-in-a-chunk", cut, "The stream ends inside a chunk.", [one, two[:20]]),
        ("cut-in-the-final-tag", cut, "The final chunk is shorter than a tag.", [one, two, last[:10]]),
        ("cut-before-the-last-octet", forged, "The last octet is missing.", [one, two, last[:-1]]),
        ("octet-after-the-end", forged, "An octet follows the final chunk.", [one, two, last, b"\0"]),
        ("octet-changed", forged, "One bit of the second chunk is flipped.", [one, bytes(flipped), last]),
        ("chunks-swapped", forged, "The second chunk comes first.", [two, one, last]),
        ("chunk-left-out", forged, "The second chunk is missing.", [one, last]),
        ("chunk-twice", forged, "The first chunk comes twice.", [one, one, two, last]),
        ("chunk-as-final", forged, "The second chunk is marked as final.", [one, b"\0" + two[1:]]),
        ("final-as-chunk", forged, "The final chunk is not marked as final.", [one, two, p.varint(len(last) - 1) + last[1:]]),
        ("empty-chunk", framed, "A chunk that is not final has no content.", empty),
        ("chunk-too-long", framed, "A chunk has more than 2^14 octets.", long),
        ("length-without-bounds", framed, "A chunk claims 2^62 - 1 octets.", [one, b"\xff" * 8, last]),
    ], 500):
        given = {"aead": 2, "enc": enc, "secret": output["response_secret"], "response": (start + b"".join(frames)).hex()}
        put(f"channel/{number}-{name}", "response", expect, note, given)
    given = {"aead": 2, "enc": other_enc, "secret": output["response_secret"], "response": (start + one + two + last).hex()}
    put("channel/520-another-requests-key", "response", forged, "The answer to another request.", given)


def receipts(put, exchange):
    claims = {"binding_id": same(1), "request": exchange["request_digest"], "req_mac": exchange["req_mac"],
              "res_mac": exchange["res_mac"], "manifest": same(5), "usage": {"prompt": 300, "completion": 20, "cached": 0},
              "finish": "stop", "times": [1_800_000_000, 1_800_000_003], "bound": "bound", "seq": 0, "previous": same(0)}
    nothing = dict.fromkeys(["temperature", "top_p", "top_k", "seed", "max_tokens"])
    defaults = {"model": "m", **nothing, "stop": [], "stream": False}
    asked = {"model": "m", "temperature": 0.7, "top_p": 0.5, "top_k": 40, "seed": -1, "max_tokens": 256,
             "stop": ["x", "\n"], "stream": True}
    given = {"seed": RECEIPT_SEED, "blind_par": exchange["blind_par"], "parameters": defaults, "claims": claims}
    first = put("receipt/000-first", "receipt", "accepted", "The first receipt of a boot, about channel/000.", given)
    put("receipt/001-next", "receipt", "accepted", "The next one of the chain, with every parameter given.",
        {**given, "parameters": asked, "claims": {**claims, "seq": 1, "finish": "length", "previous": first["sha256"]}})
    put("receipt/002-large-numbers", "receipt", "accepted", "Counts that take eight octets in CBOR, and none.",
        {**given, "claims": {**claims, "seq": 2**63, "usage": {"prompt": 2**32 - 1, "completion": 0, "cached": 65536},
                             "finish": "none"}})

    seen = {**claims, "par_mac": first["par_mac"]}
    seen = {name: seen[name] for name in ("binding_id", "request", "req_mac", "res_mac", "manifest", "par_mac")}
    signed, payload = bytes.fromhex(first["signed"]), bytes.fromhex(first["payload"])
    seed = bytes.fromhex(RECEIPT_SEED)
    text = lambda old, new: payload.replace(p.cbor(old), p.cbor(new))
    unknown, wrong, forged = "receipt-malformed", "receipt-mismatch", "receipt-signature-invalid"
    flipped = signed[:-1] + bytes([signed[-1] ^ 1])
    other = p.sign_receipt(bytes(32), payload)
    number = 600
    for name, expect, note, octets in [
        ("empty", unknown, "There is nothing.", b""),
        ("truncated", unknown, "The last octet is missing.", signed[:-1]),
        ("trailing-octet", unknown, "An octet follows the end.", signed + b"\0"),
        ("untagged", unknown, "The tag of a COSE_Sign1 is missing.", signed[1:]),
        ("unprotected-header", unknown, "The unprotected header names an algorithm.", signed.replace(b"\xa0", b"\xa1\x01\x32", 1)),
        ("another-algorithm", unknown, "The protected header names EdDSA.", signed.replace(b"\xa2\x01\x32", b"\xa2\x01\x27", 1)),
        ("signature-changed", forged, "One bit of the signature is flipped.", flipped),
        ("claim-changed", forged, "A claim is changed under the signature.", signed.replace(p.cbor("stop"), p.cbor("none"))),
        ("another-key", "receipt-other-key", "Another key signed it, and is named.", other),
        ("another-key-under-this-name", forged, "Another key signed it under this key's name.",
         p.signed_receipt(p.sha256(p.cose_key(p.receipt_public(seed))), payload, other[-64:])),
        ("another-version", unknown, "The label names another version.",
         p.sign_receipt(seed, text("veritee-receipt-v1", "veritee-receipt-v2"))),
        ("unknown-finish", unknown, "Nothing finishes like this.", p.sign_receipt(seed, text("stop", "done"))),
        ("unknown-binding-word", unknown, "Neither bound nor unbound.", p.sign_receipt(seed, text("bound", "round"))),
        ("long-integer", unknown, "An integer is written longer than needed.",
         p.sign_receipt(seed, payload.replace(b"\x0c\x00", b"\x0c\x18\x00"))),
        ("claim-left-out", unknown, "The last claim is missing.", p.sign_receipt(seed, b"\xac" + payload[1:-35])),
        ("claim-twice", unknown, "The last claim comes twice.", p.sign_receipt(seed, b"\xae" + payload[1:] + payload[-35:])),
        ("claims-reordered", unknown, "The last claim comes first.",
         p.sign_receipt(seed, payload[:1] + payload[-35:] + payload[1:-35])),
        ("unbound", "receipt-unbound", "It says that the client named no binding.",
         p.sign_receipt(seed, text("bound", "unbound"))),
    ]:
        assert octets != signed, name
        put(f"receipt/{number}-{name}", "refused_receipt", expect, note,
            {"seed": RECEIPT_SEED, "receipt": octets.hex(), "transcript": seen})
        number += 1
    for name in seen:
        put(f"receipt/{number}-another-{name.replace('_', '-')}", "refused_receipt", wrong,
            f"It is about another exchange: {name} differs.",
            {"seed": RECEIPT_SEED, "receipt": signed.hex(), "transcript": {**seen, name: same(0xEE)}})
        number += 1
