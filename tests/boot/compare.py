#!/usr/bin/env python3
"""Compare predicted PCR values with those a guest read from its TPM.

usage: compare.py PREDICTED.json OBSERVED.json --pcr 4,9,...

Both files are {"sha256": {"4": "hex", ...}, ...} and must have the same banks. Prints a table and one line for each value
that differs or is missing on either side; exit code 1 if there is any.
"""
import argparse, json, sys


def verdict(predicted, observed):
    if predicted is None or observed is None:
        return "MISSING"
    return "equal" if predicted == observed else "DIFFERS"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("predicted")
    ap.add_argument("observed")
    ap.add_argument("--pcr", required=True)
    a = ap.parse_args()
    pcrs = a.pcr.split(",")
    predicted, observed = json.load(open(a.predicted)), json.load(open(a.observed))
    if not observed:
        raise SystemExit(f"{a.observed}: no bank at all")
    print("".join([f"{'bank':<8}"] + [f"{'PCR ' + p:<9}" for p in pcrs]).rstrip())
    faults = []
    for bank in sorted(predicted.keys() | observed.keys()):
        words = []
        for p in pcrs:
            ours, theirs = predicted.get(bank, {}).get(p), observed.get(bank, {}).get(p)
            words.append(verdict(ours, theirs))
            if words[-1] != "equal":
                faults.append(f"PCR {p} {bank} {words[-1]}: predicted {ours}, the guest has {theirs}")
        print("".join([f"{bank:<8}"] + [f"{w:<9}" for w in words]).rstrip())
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
