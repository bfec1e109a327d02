#!/bin/sh
# Records quotes.json: quotes of a swtpm whose PCRs were extended with the log of a fixture's boot, one for each kind of key.
# Made with swtpm 0.7.1, libtpms 0.9.2, tpm2-tools 5.4.   usage: tests/verify/record.sh > tests/verify/quotes.json
set -eu
cd "$(dirname "$0")/../.."
log=$PWD/fixtures/boots/t-tiny-257/eventlog.bin
folder=$(mktemp -d)
cd "$folder"
swtpm socket --tpm2 --flags not-need-init,startup-clear --tpmstate dir="$folder" \
	--server type=unixio,path="$folder/s" --ctrl type=unixio,path="$folder/s.ctrl" >/dev/null 2>&1 &
process=$!
trap 'kill $process; rm -rf "$folder"' EXIT
sleep 1
export TPM2TOOLS_TCTI="swtpm:path=$folder/s" TSS2_LOG=all+none
nonce=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff

python3 - "$log" >extends <<'PYTHON'
import struct, sys
log, at = open(sys.argv[1], "rb").read(), 0
at = 32 + struct.unpack_from("<I", log, 28)[0]
banks = {4: ("sha1", 20), 11: ("sha256", 32), 12: ("sha384", 48), 13: ("sha512", 64)}
while at < len(log):
    pcr, kind, count = struct.unpack_from("<III", log, at)
    at, digests = at + 12, []
    for _ in range(count):
        name, size = banks[struct.unpack_from("<H", log, at)[0]]
        digests.append(f"{name}={log[at + 2:at + 2 + size].hex()}")
        at += 2 + size
    at += 4 + struct.unpack_from("<I", log, at)[0]
    if kind != 3:
        print(f"{pcr}:{','.join(digests)}")
PYTHON
while read -r extend; do tpm2_pcrextend "$extend"; done <extends

for key in rsa2048:rsassa-sha256 rsa2048:rsassa-sha512 rsa2048:rsapss-sha256 rsa2048:rsapss-sha384 \
	ecc256:ecdsa-sha256 ecc384:ecdsa-sha384 ecc256:ecdsa-sha512; do
	scheme=${key#*:}
	tpm2_createprimary -C e -G "$key:null" -c ak.ctx -Q \
		-a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign'
	tpm2_flushcontext -t
	tpm2_readpublic -c ak.ctx -f tss -o "$key.public" -Q
	tpm2_flushcontext -t
	tpm2_quote -c ak.ctx -l sha256:4,8,9,11,12,13,14+sha384:4,9,11 -q "$nonce" -m "$key.message" -s "$key.signature" \
		-o pcrs -g "${scheme#*-}" --scheme "${scheme%-*}" -Q
	tpm2_flushcontext -t
	tpm2_quote -c ak.ctx -l sha256:4,9 -q "$nonce" -m "$key.plain_message" -s "$key.plain_signature" \
		-f plain -F values -o values -g "${scheme#*-}" --scheme "${scheme%-*}" -Q
	tpm2_flushcontext -t
done
python3 - "$nonce" <<'PYTHON'
import glob, json, sys
hexed = lambda path: open(path, "rb").read().hex()
parts = ("public", "message", "signature", "plain_message", "plain_signature")
keys = {p[:-7]: {part: hexed(f"{p[:-7]}.{part}") for part in parts} for p in sorted(glob.glob("*.public"))}
print(json.dumps({"nonce": sys.argv[1], "pcrs": hexed("pcrs"), "plain_pcrs": hexed("values"), "keys": keys}, indent=1))
PYTHON
