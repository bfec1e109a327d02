#!/bin/sh
# Fuzzes the targets named (all of them without a name) for SECONDS of CPU time each, seeded from the fixtures.
#   SECONDS_EACH=600 fuzz/run.sh [TARGET...]
set -eu
cd "$(dirname "$0")"
export RUSTC_BOOTSTRAP=1
seconds=${SECONDS_EACH:-60}

seed() { # TARGET FILE...: copies each file under a name of its own
    folder=corpus/$1
    mkdir -p "$folder"
    shift
    for file in "$@"; do
        [ -f "$file" ] && cp "$file" "$folder/$(echo "$file" | tr / _)"
    done
    return 0
}

boots=../fixtures/boots
seed event_log $boots/*/eventlog.bin seeds/boot_log/final-events
seed boot_log $boots/*/eventlog.bin $boots/*/guest/tpm2-measure.log $boots/*/guest/ima_runtime_measurements seeds/*/*
seed cel_json $boots/*/guest/tpm2-measure.log seeds/cel_json/*
seed ima $boots/*/guest/ima_runtime_measurements seeds/ima/*
seed registers $boots/t-tiny-257/pcrs.json seeds/registers/*
seed import ../tests/export/golden/*/* ../tests/export/golden/*/*/*
for target in event_data cel_cbor cel_tlv quote attestation_key pcr_values evidence capture; do
    seed $target seeds/$target/*
done
keys=$boots/f-secureboot-257/inputs
seed signature_list $keys/*.esl
seed mok_lists $keys/*.esl
seed signed_variable $keys/*.esl $keys/*.crt
seed aws_data $keys/*.esl seeds/aws_data/*
seed baseline_profile seeds/baseline_profile/*
seed grub_config seeds/grub_config/*
for folder in regressions/*/; do
    [ -d "$folder" ] && seed "$(basename "$folder")" "$folder"*
done

if [ $# -eq 0 ]; then
    set -- event_log event_data boot_log cel_json cel_cbor cel_tlv ima registers
fi
for target in "$@"; do
    cargo fuzz build "$target"
    spent=0
    # libFuzzer counts hours of the clock; a busy machine gives it less.
    while [ "$spent" -lt "$seconds" ]; do
        /usr/bin/time -o corpus/.time -f %U cargo fuzz run "$target" -- -max_total_time=$((seconds - spent)) \
            -max_len=65536 -timeout=300 -rss_limit_mb=2048 -print_final_stats=1
        spent=$((spent + 1 + $(tail -n1 corpus/.time | cut -d. -f1)))
    done
    echo "$target: $spent CPU seconds"
done
