#!/bin/bash
# Two quick boots under QEMU + OVMF + swtpm of what the fixtures hold, predicted before and compared after, in every bank: the
# tiny UKI started by the firmware (PCR 4, 9, 11, 12, 13), and a disk on which systemd-boot starts it beside a credential (PCR 5
# too). About 10 seconds each. matrix/ is the large test.
# usage: smoke.sh [--self-test]
#   --self-test  predicts from a copy of the UKI with one byte of .uname flipped, boots the original, and succeeds only if
#                the comparison names PCR 4 and PCR 11 in every bank, and no other PCR
# PREMEASURE names the binary (default: built with cargo). Needs qemu-system-x86, ovmf, swtpm, swtpm-tools, python3, mtools,
# dosfstools, zstd. Exit code 0 equal, 1 different, 2 could not be run.
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
for tool in qemu-system-x86_64 swtpm swtpm_setup python3 mcopy mkfs.vfat zstd; do
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
export PATH=$PATH:/usr/sbin:/sbin

# predict FROM NAME [OPTION...]: its values before the boot.
predict() {
	local from=$1 name=$2
	shift 2
	"$PREMEASURE" predict "$from" --secure-boot off "$@" --format pcrs \
		--bank sha1 --bank sha256 --bank sha384 --bank sha512 >"$work/$name.json"
}

# boot NAME PCRS: boots NAME.img and compares.
boot() {
	python3 "$here/boot.py" --disk "$work/$1.img" --code "$firmware/OVMF_CODE_4M.fd" --vars "$firmware/OVMF_VARS_4M.fd" \
		--out "$work/$1.out" --timeout 180 || cannot "the guest reported nothing: $(tail -c 600 "$work/$1.out/console.log")"
	python3 "$here/compare.py" "$work/$1.json" "$work/$1.out/pcrs.json" --pcr "$2" | tee "$work/$1.table"
}

direct() {
	predict "$predicted_from" direct
	mkdir -p "$work/direct/EFI/BOOT"
	cp "$uki" "$work/direct/EFI/BOOT/BOOTX64.EFI"
	python3 "$here/mkdisk.py" "$work/direct" "$work/direct.img"
	boot direct 4,9,11,12,13
}

by_loader() {
	local esp=$work/loader outcome=success
	mkdir -p "$esp/EFI/Linux/tiny.efi.extra.d" "$esp/loader" "$esp/EFI/BOOT"
	tar --use-compress-program=zstd --occurrence=1 -xOf "$top/fixtures/boots/disks.tar.zst" c-sdboot-257/disk.img >"$work/c.img"
	MTOOLS_SKIP_CHECK=1 mcopy -i "$work/c.img@@1M" ::/EFI/BOOT/BOOTX64.EFI "$esp/EFI/BOOT/"
	rm "$work/c.img"
	cp "$uki" "$esp/EFI/Linux/tiny.efi"
	echo secret >"$esp/EFI/Linux/tiny.efi.extra.d/smoke.cred"
	printf 'timeout 0\ndefault tiny*\n' >"$esp/loader/loader.conf"
	python3 "$here/mkdisk.py" "$esp" "$work/loader.img"
	# The kernel's first ExitBootServices fails on every boot of OVMF 2026.08.
	[[ $(dpkg-query -W -f '${Version}' ovmf 2>/dev/null) < 2026 ]] || outcome=failure-then-success
	predict "$work/loader.img" loader --exit-boot-services $outcome
	boot loader 4,5,9,11,12,13
}

result=0
direct || result=$?
if [ -z "$self_test" ]; then
	by_loader || result=$?
	[ $result = 0 ] && echo "smoke: the guests' PCRs equal the predictions"
	exit $result
fi
# Caught by name: these two PCRs in all four banks, and nothing else.
caught=$(grep -o '^PCR [0-9]* [a-z0-9]* DIFFERS' "$work/direct.table" | sort)
wanted=$(for bank in sha1 sha256 sha384 sha512; do printf 'PCR %s %s DIFFERS\n' 4 $bank 11 $bank; done | sort)
if [ "$caught" != "$wanted" ] || grep -q MISSING "$work/direct.table"; then
	echo "smoke: self-test FAILED: a flipped byte in .uname has to be seen in PCR 4 and 11 of every bank, and only there" >&2
	exit 1
fi
echo "smoke: self-test: the flipped byte was caught in PCR 4 and PCR 11"
