#!/bin/bash
# Compares `premeasure log replay` with tpm2_eventlog as whole processes, and replays a folder of many logs; prints a table.
# usage: benches/compare-logs.sh [LOGS]      (10000 logs without an argument)
# needs: hyperfine jq time tpm2-tools
set -euo pipefail
cd "$(dirname "$0")/.."
logs=${1:-10000}
for tool in hyperfine jq /usr/bin/time tpm2_eventlog; do
	command -v $tool >/dev/null || { echo "compare-logs.sh: $tool is missing" >&2; exit 2; }
done
[ -n "${PREMEASURE:-}" ] || cargo build --release --quiet
premeasure=${PREMEASURE:-$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/release/premeasure}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
small=fixtures/boots/j-shim-grub-bookworm/eventlog.bin

# A log's records without its header, which is a record of 32 bytes and the data whose length stands at offset 28.
records() {
	tail -c "+$((33 + $(od -An -tu4 -j28 -N4 "$1")))" "$1"
}

# 64 KiB: the log of a boot, and what others measured behind it. All have the same four banks.
log=$work/64k.bin
{
	cat $small
	for boot in j-shim-grub-bookworm e-addons-257 c-sdboot-257; do
		records fixtures/boots/$boot/eventlog.bin
	done
} >"$log"

echo "$(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1); $(tpm2_eventlog --version 2>&1 | grep -o 'version="[^"]*"')"
echo
one() {
	local name=$1
	shift
	hyperfine -N --warmup 10 --runs 200 --export-json "$work/result.json" "$*" >/dev/null 2>&1
	jq -r --arg name "$name" '.results[0] | [$name, .mean, .min, (.user + .system)] | "\(.[0])|\(.[1] * 1000)|\(.[2] * 1000)|\(.[3] * 1000)"' \
		"$work/result.json" | while IFS='|' read -r n wall least cpu; do
		printf '| %-44s | %8.1f | %8.1f | %8.1f |\n' "$n" "$wall" "$least" "$cpu"
	done
}
for log in $small "$log"; do
	printf '| %-44s | %8s | %8s | %8s |\n' "one log, $(stat -c %s "$log") bytes, four banks" "wall ms" "least ms" "CPU ms"
	printf '|%s|%s|%s|%s|\n' ---------------------------------------------- ---------: ---------: ---------:
	one "tpm2_eventlog" tpm2_eventlog "$log"
	one "premeasure log replay" "$premeasure" log replay "$log"
	one "premeasure log show --verbose" "$premeasure" log show --verbose "$log"
	echo
done

# Memory: a log as long as any may be, by its records.
huge=$work/huge.bin
cat $small >"$huge"
records $small >"$work/records"
for ((copy = 0; copy < 400; copy++)); do
	cat "$work/records"
done >>"$huge"
printf '| %-44s | %8s | %8s |\n' "one log, $(stat -c %s "$huge") bytes" "wall s" "peak MiB"
printf '|%s|%s|%s|\n' ---------------------------------------------- ---------: ---------:
for command in replay show check; do
	read -r wall peak < <(/usr/bin/time -q -f '%e %M' "$premeasure" log $command "$huge" 2>&1 >/dev/null | tail -1)
	awk -v n="premeasure log $command" -v w="$wall" -v p="$peak" 'BEGIN { printf "| %-44s | %8.2f | %8.1f |\n", n, w, p / 1024 }'
done

echo
printf '| %-44s | %8s | %8s | %8s | %8s |\n' "a folder, log replay --json-lines" "wall s" "CPU s" "logs/s" "peak MiB"
printf '|%s|%s|%s|%s|%s|\n' ---------------------------------------------- ---------: ---------: ---------: ---------:
for count in $((logs / 10)) "$logs"; do
	mkdir "$work/$count"
	boots=(fixtures/boots/*/eventlog.bin)
	for ((number = 0; number < count; number++)); do
		cp "${boots[number % ${#boots[@]}]}" "$work/$count/$number.bin"
	done
	read -r wall user system peak < <(/usr/bin/time -f '%e %U %S %M' "$premeasure" log replay "$work/$count" --json-lines 2>&1 >/dev/null)
	awk -v n="$count logs" -v c="$count" -v w="$wall" -v u="$user" -v s="$system" -v p="$peak" \
		'BEGIN { printf "| %-44s | %8.2f | %8.2f | %8.0f | %8.1f |\n", n, w, u + s, c / w, p / 1024 }'
	rm -r "${work:?}/$count"
done
