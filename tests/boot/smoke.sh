#!/bin/bash
# Boots the tiny UKI of the fixtures under QEMU + OVMF + swtpm and compares the PCRs that the guest reads from its TPM with
# the prediction made before the boot: PCR 4, 9, 11, 12 and 13 in every bank. About 10 seconds.
# usage: smoke.sh [--self-test]
#   --self-test  predicts from a copy of the UKI with one byte of .uname flipped, boots the original, and succeeds only if
#                the comparison names PCR 4 and PCR 11 in every bank, and no other PCR
# PREMEASURE names the binary (default: built with cargo). Needs qemu-system-x86, ovmf, swtpm, swtpm-tools, python3, mtools,
# dosfstools. Exit code 0 equal, 1 different, 2 could not be run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
pcrs=4,9,11,12,13
uki=$top/fixtures/t-tiny-257/uki.efi
firmware=${OVMF:-/usr/share/OVMF}

cannot() { echo "smoke: $*" >&2; exit 2; }

self_test=
case ${1-} in
'') ;;
--self-test) self_test=yes ;;
*) cannot "unknown argument $1" ;;
esac
for tool in qemu-system-x86_64 swtpm swtpm_setup python3 mcopy mkfs.vfat; do
	PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || cannot "$tool is not installed"
done
for file in OVMF_CODE_4M.fd OVMF_VARS_4M.fd; do
	[ -e "$firmware/$file" ] || cannot "$firmware/$file is missing: install the package ovmf"
done
if [ -z "${PREMEASURE-}" ]; then
	(cd "$top" && cargo build --quiet --locked)
	PREMEASURE=${CARGO_TARGET_DIR:-$top/target}/debug/premeasure
fi

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
predicted_from=$uki
if [ "$self_test" ]; then
	predicted_from=$work/flipped.efi
	python3 - "$uki" "$predicted_from" <<-'PYTHON'
		import sys
		image, uname = bytearray(open(sys.argv[1], "rb").read()), b"6.12-rig-tiny"
		if image.count(uname) != 1:
		    raise SystemExit("the contents of .uname do not occur exactly once")
		image[image.index(uname) + len(uname) - 1] ^= 1
		open(sys.argv[2], "wb").write(image)
	PYTHON
fi
"$PREMEASURE" predict "$predicted_from" --secure-boot off --format pcrs \
	--bank sha1 --bank sha256 --bank sha384 --bank sha512 >"$work/predicted.json"

mkdir -p "$work/esp/EFI/BOOT"
cp "$uki" "$work/esp/EFI/BOOT/BOOTX64.EFI"
export PATH=$PATH:/usr/sbin:/sbin
python3 "$here/mkdisk.py" "$work/esp" "$work/disk.img"
python3 "$here/boot.py" --disk "$work/disk.img" --code "$firmware/OVMF_CODE_4M.fd" --vars "$firmware/OVMF_VARS_4M.fd" \
	--out "$work/out" --timeout 180 || cannot "the guest reported nothing: $(tail -c 600 "$work/out/console.log")"

result=0
python3 "$here/compare.py" "$work/predicted.json" "$work/out/pcrs.json" --pcr $pcrs | tee "$work/table" || result=$?
if [ -z "$self_test" ]; then
	[ $result = 0 ] && echo "smoke: the guest's PCRs equal the prediction"
	exit $result
fi
# Caught by name: these two PCRs in all four banks, and nothing else.
caught=$(grep -o '^PCR [0-9]* [a-z0-9]* DIFFERS' "$work/table" | sort)
wanted=$(for bank in sha1 sha256 sha384 sha512; do printf 'PCR %s %s DIFFERS\n' 4 $bank 11 $bank; done | sort)
if [ "$caught" != "$wanted" ] || grep -q MISSING "$work/table"; then
	echo "smoke: self-test FAILED: a flipped byte in .uname has to be seen in PCR 4 and 11 of every bank, and only there" >&2
	exit 1
fi
echo "smoke: self-test: the flipped byte was caught in PCR 4 and PCR 11"
