#!/usr/bin/env bash
# Makes swtpm.json anew: a quote of a software TPM, as an independent maker of what the verifier reads.
# Needs swtpm, tpm2-tools (Debian: the packages of these names), openssl and python3.
set -euo pipefail
out=$(cd "$(dirname "$0")" && pwd)/swtpm.json
work=$(mktemp -d)
cd "$work"
port=23210
mkdir state
swtpm_setup --tpm2 --tpmstate state --create-ek-cert >/dev/null
swtpm socket --tpm2 --tpmstate dir=state --flags not-need-init,startup-clear \
	--server "type=tcp,port=$port,bindaddr=127.0.0.1" --ctrl "type=tcp,port=$((port + 1)),bindaddr=127.0.0.1" &
tpm=$!
trap 'kill $tpm; rm -rf "$work"' EXIT
sleep 1
export TPM2TOOLS_TCTI="swtpm:host=127.0.0.1,port=$port"
flush() { tpm2_flushcontext -t; tpm2_flushcontext -s; tpm2_flushcontext -l; }
tpm2_createek -c ek.ctx -G rsa -u ek.pub >/dev/null && flush
tpm2_createak -C ek.ctx -c ak.ctx -G rsa -g sha256 -s rsassa -u ak.pub -f pem >/dev/null && flush
tpm2_pcrextend 4:sha256="$(printf firmware | sha256sum | cut -d' ' -f1)" 9:sha256="$(printf kernel | sha256sum | cut -d' ' -f1)"
flush
challenge=$(printf 'c4%.0s' $(seq 32))
registers=$(seq -s, 0 23)
tpm2_quote -c ak.ctx -l "sha256:$registers" -q "$challenge" -m message -s signature -f plain -o pcrs -F values -g sha256 >/dev/null
flush
openssl rsa -pubin -in ak.pub -noout -modulus | sed 's/Modulus=//' >modulus
python3 - "$out" "$(swtpm --version | head -1 | cut -d, -f1)" "$(tpm2_quote --version | sed 's/.*version="\([^"]*\)".*/\1/')" <<'PYTHON'
import json, sys
octets = lambda name: open(name, "rb").read()
values = octets("pcrs")
assert len(values) == 24 * 32, len(values)
json.dump({
    "made_by": sys.argv[2] + ", tpm2-tools " + sys.argv[3],
    "modulus": octets("modulus").decode().strip().lower(),
    "quote": {
        "message": octets("message").hex(),
        "signature": octets("signature").hex(),
        "pcrs": [values[at:at + 32].hex() for at in range(0, 768, 32)],
    },
}, open(sys.argv[1], "w"), indent=1)
open(sys.argv[1], "a").write("\n")
PYTHON
echo "$out"
