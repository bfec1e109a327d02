#!/bin/bash
# Times whole disks and prints a table: a sparse disk of 4 GiB against the UKI of 60 MiB in it, and the check of a dm-verity
# partition (1 GiB) against veritysetup, on one core and on two.
# usage: benches/disks.sh [MIB_OF_VERITY_DATA]
# needs: hyperfine jq binutils systemd-boot-efi gdisk dosfstools mtools cryptsetup-bin util-linux
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
mib=${1:-1024}
stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub
for tool in hyperfine jq objcopy sgdisk mkfs.vfat mcopy veritysetup taskset zstd; do
	command -v $tool >/dev/null || { echo "disks.sh: $tool is missing" >&2; exit 2; }
done
[ -e $stub ] || { echo "disks.sh: $stub is missing (Debian: systemd-boot-efi)" >&2; exit 2; }

cargo build --release --quiet
premeasure=${CARGO_TARGET_DIR:-$PWD/target}/release/premeasure
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case=g2-type1-252
zstd -dc --long=31 fixtures/boots/disks.tar.zst | tar -xSf - -C "$work" "$case/disk.img"
mcopy -n -i "$work/$case/disk.img@@1048576" ::/rig/vmlinuz "$work/vmlinuz"
cd "$work"

# The data and its tree first: the root hash stands on the command line.
head -c "${mib}M" /dev/urandom >root
: >hashes
roothash=$(veritysetup format root hashes | sed -n 's/^Root hash:[[:space:]]*//p')
head -c $((60 * 1048576 - $(stat -c %s vmlinuz) - 200000)) /dev/urandom >initrd
printf 'console=ttyS0 roothash=%s' "$roothash" >cmdline
printf 'ID=bench\nVERSION_ID=1\n' >osrel
add() { echo --add-section ".$1=$2" --change-section-vma ".$1=$3"; }
# shellcheck disable=SC2046
objcopy $(add osrel osrel 0x20000) $(add cmdline cmdline 0x30000) \
	$(add linux vmlinuz 0x2000000) $(add initrd initrd 0x4000000) $stub uki.efi

truncate -s 400M esp
mkfs.vfat -F 32 esp >/dev/null
mmd -i esp ::/EFI ::/EFI/BOOT
mcopy -i esp uki.efi ::/EFI/BOOT/BOOTX64.EFI
truncate -s 4G disk.raw
uuid() { sed -E 's/(.{8})(.{4})(.{4})(.{4})(.{12})/\1-\2-\3-\4-\5/' <<<"$1"; }
sgdisk -n 1:1M:+400M -t 1:c12a7328-f81f-11d2-ba4b-00a0c93ec93b \
	-n "2:401M:+${mib}M" -t 2:4f68bce3-e8cd-4db1-96e7-fbcaf984b709 -u "2:$(uuid "${roothash:0:32}")" \
	-n "3:$((401 + mib))M:+16M" -t 3:2c7357ed-ebd2-46d9-aec1-23d437ec2bf5 -u "3:$(uuid "${roothash:32}")" disk.raw >/dev/null
dd if=esp of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
dd if=root of=disk.raw bs=1M seek=401 conv=notrunc status=none
dd if=hashes of=disk.raw bs=1M seek=$((401 + mib)) conv=notrunc status=none

rows=()
# run NAME COMMAND: wall time in milliseconds, and its deviation.
run() {
	hyperfine -N -i --warmup 1 --runs 10 --export-json result.json "$2" >/dev/null 2>&1 || { rows+=("$1|failed|"); return 0; }
	rows+=("$1|$(jq -r '.results[0] | "\(.mean*1000|round)|\(.stddev*1000|round)"' result.json)")
}
run "predict: UKI of 60 MiB" "$premeasure predict uki.efi --format pcrs"
run "predict: sparse disk of 4 GiB with it" "$premeasure predict disk.raw --format pcrs"
run "veritysetup verify, $mib MiB, one core" "taskset -c 0 veritysetup verify root hashes $roothash"
run "check of the disk with it, one core" "taskset -c 0 $premeasure check disk.raw"
run "veritysetup verify, $mib MiB" "veritysetup verify root hashes $roothash"
run "check of the disk with it" "$premeasure check disk.raw"

echo "$(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), veritysetup $(veritysetup --version | sed 's/[^0-9.]*\([0-9.]*\).*/\1/')"
printf '| %-40s | %8s | %5s |\n' command "wall ms" "±"
printf '|%s|%s|%s|\n' ------------------------------------------ ---------: ------:
for row in "${rows[@]}"; do
	IFS='|' read -r name wall deviation <<<"$row"
	printf '| %-40s | %8s | %5s |\n' "$name" "$wall" "$deviation"
done
