"""Keylime measured-boot policy `premeasure-uki`: judges boots of unified kernel images.

Keylime's own policy `example` knows shim and GRUB and refuses the log of every UKI. This one takes the reference state that
`premeasure export --format keylime-mb` writes:

    {"boots": [{"name": "...", "pcrs": {"4": ["0x...", "0x..."], "12": []}}]}

A boot is accepted when the event log has, for every PCR of one of the boots, exactly these SHA-256 digests in this order;
PCRs of different boots are never mixed. Keylime itself makes sure that the log gives the quoted PCRs.

Install: put this file where the verifier's Python finds it (PYTHONPATH), and in verifier.conf:

    measured_boot_imports = ["premeasure_uki"]
    measured_boot_policy_name = "premeasure-uki"
"""
import re
import typing

from keylime.mba.elchecking import policies, tests

# Where the firmware's log says everything that is extended, up to systemd 260. PCR 10 is IMA's; systemd extends 11 and 15
# after the log ends.
PCRS = frozenset([*range(10), 12, 13, 14])

HEX = re.compile("0x[0-9a-f]{64}")


class Register(tests.Test):
    """The log extends exactly these digests into one PCR"""

    def __init__(self, pcr: int, digests: typing.List[str]):
        super().__init__()
        self.pcr = pcr
        self.events = tests.TupleTest(*[tests.DigestTest({"sha256": digest[2:]}) for digest in digests])

    def why_not(self, globs: tests.Globals, subject: tests.Data) -> str:
        if not isinstance(subject, list) or not all(isinstance(event, dict) for event in subject):
            return "is not a list of events"
        # EV_NO_ACTION is written into the log and not extended.
        extends = [e for e in subject if e.get("PCRIndex") == self.pcr and e.get("EventType") != "EV_NO_ACTION"]
        reason = self.events.why_not(globs, extends)
        return f"PCR {self.pcr} {reason}" if reason else ""


class PremeasureUki(policies.Policy):
    """Whole boots, as premeasure predicts them"""

    def get_relevant_pcrs(self) -> typing.FrozenSet[int]:
        return PCRS

    def refstate_to_test(self, refstate: policies.RefState) -> tests.Test:
        boots = refstate.get("boots") if isinstance(refstate, dict) else None
        if not isinstance(boots, list) or not boots:
            raise Exception("expected {'boots': [...]} with at least one boot")
        return tests.FieldTest("events", tests.Or(*[boot_test(boot) for boot in boots]))


def boot_test(boot: typing.Any) -> tests.Test:
    registers = boot.get("pcrs") if isinstance(boot, dict) else None
    if not isinstance(registers, dict) or not registers:
        raise Exception(f"{boot!r} has no pcrs: it would accept any machine")
    for pcr, digests in registers.items():
        if not pcr.isdecimal() or int(pcr) not in PCRS:
            raise Exception(f"{pcr!r} is no PCR that the firmware's log tells all about")
        if not isinstance(digests, list) or not all(isinstance(d, str) and HEX.fullmatch(d) for d in digests):
            raise Exception(f"PCR {pcr}: expected a list of 0x and 64 lower-case hexadecimal digits")
    return tests.And(*[Register(int(pcr), digests) for pcr, digests in registers.items()])


policies.register("premeasure-uki", PremeasureUki())
