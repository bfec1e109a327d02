#!/bin/bash
# Compares whole processes on a UKI of 250 MiB and prints a table: premeasure against systemd-measure, pesign and
# nitro-tpm-pcr-compute, as far as they are installed. They don't do the same work; the table says what each does.
# usage: benches/compare.sh [MIB]
# needs: hyperfine jq time binutils systemd-boot-efi (the stub), and a kernel: fixtures/boots/disks.tar.zst has one
set -euo pipefail
cd "$(dirname "$0")/.."
mib=${1:-250}
stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub
measure=$(command -v systemd-measure || ls /usr/lib/systemd/systemd-measure /lib/systemd/systemd-measure 2>/dev/null | head -1 || true)
for tool in hyperfine jq /usr/bin/time objcopy zstd mcopy; do
	command -v $tool >/dev/null || { echo "compare.sh: $tool is missing" >&2; exit 2; }
done
[ -e $stub ] || { echo "compare.sh: $stub is missing (Debian: systemd-boot-efi)" >&2; exit 2; }

cargo build --release --quiet
premeasure=$PWD/target/release/premeasure
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case=g2-type1-252
zstd -dc --long=31 fixtures/boots/disks.tar.zst | tar -xSf - -C "$work" "$case/disk.img"
mcopy -n -i "$work/$case/disk.img@@1048576" ::/rig/vmlinuz "$work/vmlinuz"
cd "$work"
size=$((mib * 1048576 - $(stat -c %s vmlinuz) - 200000))
head -c $size /dev/urandom >initrd
printf 'console=ttyS0 quiet' >cmdline
printf 'ID=bench\nVERSION_ID=1\n' >osrel
printf '6.1.0-bench' >uname
add() { echo --add-section ".$1=$2" --change-section-vma ".$1=$3"; }
# shellcheck disable=SC2046
objcopy $(add osrel osrel 0x20000) $(add cmdline cmdline 0x30000) $(add uname uname 0x40000) \
	$(add linux vmlinuz 0x2000000) $(add initrd initrd 0x4000000) $stub uki.efi
sections=(--linux=vmlinuz --osrel=osrel --cmdline=cmdline --initrd=initrd)

rows=()
# run NAME COMMAND...: time, processor time and memory of one command.
run() {
	local name=$1
	shift
	hyperfine -N --warmup 1 --runs 10 --export-json result.json "$@" >/dev/null 2>&1 || { rows+=("$name|failed|||"); return 0; }
	local peak
	# shellcheck disable=SC2086
	peak=$(($(/usr/bin/time -f %M $1 2>&1 >/dev/null | tail -1) / 1024))
	rows+=("$name|$(jq -r '.results[0] | "\(.mean*1000|round)|\(.stddev*1000|round)|\((.user+.system)*1000|round)"' result.json)|$peak")
}

[ -z "$measure" ] || run "systemd-measure: PCR 11, sha256" "$measure calculate ${sections[*]} --bank=sha256 --phase="
run "premeasure: PCR 4 8 9 11 12 13 14 15, sha256" "$premeasure predict uki.efi --bank sha256 --format pcrs"
[ -z "$measure" ] || run "systemd-measure: PCR 11, four banks" "$measure calculate ${sections[*]} --phase="
run "premeasure: the same PCRs, four banks" "$premeasure predict uki.efi --bank sha1,sha256,sha384,sha512 --format pcrs"
run "premeasure: document, sha256+sha384" "$premeasure predict uki.efi --json"
if command -v pesign >/dev/null; then run "pesign -h: image digest, sha256" "pesign -h -i uki.efi"; fi
if command -v nitro-tpm-pcr-compute >/dev/null; then run "nitro-tpm-pcr-compute: PCR 4 7 12, sha384" "nitro-tpm-pcr-compute --image uki.efi"; fi

echo "UKI of $(($(stat -c %s uki.efi) / 1048576)) MiB, $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
printf '| %-46s | %8s | %5s | %8s | %8s |\n' command "wall ms" "±" "CPU ms" "peak MiB"
printf '|%s|%s|%s|%s|%s|\n' ------------------------------------------------ ---------: ------: ---------: ---------:
for row in "${rows[@]}"; do
	IFS='|' read -r name wall deviation cpu peak <<<"$row"
	printf '| %-46s | %8s | %5s | %8s | %8s |\n' "$name" "$wall" "$deviation" "$cpu" "$peak"
done
