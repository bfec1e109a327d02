"""Keylime's own code on exported policies.

usage: check_keylime.py tpm FOLDER POLICY BOOTS         a tpm_policy; BOOTS: the same boots as tuples (--format flashbots)
       check_keylime.py mb FOLDER REFSTATE LOG PCRS [LOG PCRS ...]
           a mb_policy, and the event logs and quoted PCRs of boots; the first ones are those of REFSTATE, in its order
Needs a Python with PyPI's keylime 7.14.3 and what its wheel does not declare:
    python3 -m venv V && V/bin/pip install keylime==7.14.3 cryptography pyyaml jsonschema tornado sqlalchemy requests \\
        psutil lark packaging pyasn1 pyasn1-modules jinja2 typing-extensions
For mb also tpm2-tools and libefivar1. FOLDER is for configuration files that Keylime insists on.
"""
import base64
import copy
import json
import os
import sys
import types

command, folder = sys.argv[1:3]
sys.modules["gpg"] = types.ModuleType("gpg")
os.environ["KEYLIME_TEST"] = "False"
for component in ("agent", "verifier", "tenant", "registrar", "ca", "logging"):
    path = os.path.join(folder, component + ".conf")
    with open(path, "w") as config:
        if component == "logging":
            config.write(
                "[logging]\nversion = 2.0\n[loggers]\nkeys = root,keylime\n[handlers]\nkeys = consoleHandler\n"
                "[formatters]\nkeys = formatter\n[formatter_formatter]\nformat = %(message)s\n"
                "[logger_root]\nlevel = CRITICAL\nhandlers = consoleHandler\n"
                "[logger_keylime]\nlevel = CRITICAL\nqualname = keylime\nhandlers =\n"
                "[handler_consoleHandler]\nclass = StreamHandler\nlevel = CRITICAL\nformatter = formatter\nargs = (sys.stderr,)\n"
            )
        else:
            config.write(f"[{component}]\nversion = 2.0\n")
        if component == "verifier":
            config.write('measured_boot_imports = ["premeasure_uki"]\nmeasured_boot_policy_name = premeasure-uki\n')
    os.environ[f"KEYLIME_{component.upper()}_CONFIG"] = path

from keylime.common import algorithms  # noqa: E402
from keylime.mba import mba  # noqa: E402
from keylime.mba.elchecking import policies  # noqa: E402
from keylime.tpm import tpm_main, tpm_util  # noqa: E402

SHA256 = algorithms.Hash("sha256")


def load(path):
    with open(path) as text:
        return json.load(text)


def check_tpm(policy_file, boots_file):
    """The tenant's reader takes the policy, the verifier's check judges PCRs by it."""
    mba.load_imports(skip_custom_policies=True)
    with open(policy_file) as text:
        policy = tpm_util.readPolicy(text.read())
    boots = [{int(pcr): value["expected"] for pcr, value in boot["measurements"].items()} for boot in load(boots_file)]
    listed = [int(pcr) for pcr in policy if pcr != "mask"]
    boots = [{pcr: value for pcr, value in boot.items() if pcr in listed} for boot in boots]

    def accepted(pcrs):
        return not tpm_main.Tpm().check_pcrs(None, policy, pcrs, None, None, None, None, None, None, SHA256, 0, True)

    good = sum(accepted(boot) for boot in boots)
    altered = boots[0] | {11: "00" * 32}
    upper = {pcr: value.upper() for pcr, value in boots[0].items()}
    missing = {pcr: value for pcr, value in boots[0].items() if pcr != 11}
    mixture = boots[0] | {11: boots[1][11]}
    bad = (("altered", altered), ("upper case", upper), ("missing", missing))
    refused = [name for name, pcrs in bad if not accepted(pcrs)]
    print(f"accepted {good}, refused {', '.join(refused)}; {'accepted' if accepted(mixture) else 'refused'} the mixture")


def check_mb(refstate_file, *files):
    """The verifier's own path: parse the log, compare its replay with the quote, ask the policy."""
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../contrib/keylime"))
    mba.load_imports()
    refstate = load(refstate_file)
    boots = []
    for log, pcrs in zip(files[::2], files[1::2]):
        with open(log, "rb") as binary:
            quoted = {int(pcr): value for pcr, value in load(pcrs)["sha256"].items() if int(pcr) < 16 and pcr != "10"}
            boots.append((binary.read(), quoted))

    def accepted(log, pcrs, policy="premeasure-uki", state=refstate):
        arguments = (None, {}, pcrs, None, None, None, None, base64.b64encode(log).decode(), json.dumps(state), SHA256, 0, True)
        os.environ["KEYLIME_VERIFIER_MEASURED_BOOT_POLICY_NAME"] = policy
        return not tpm_main.Tpm().check_pcrs(*arguments, mb_policy_name=policy)

    known = len(refstate["boots"])
    verdict = [accepted(log, pcrs) for log, pcrs in boots]
    assert verdict == [True] * known + [False] * (len(boots) - known), verdict
    (log, pcrs), (other_log, other_pcrs) = boots[:2]
    assert not accepted(log, pcrs | {4: other_pcrs[4]}), "a PCR 4 that the log does not give"
    assert not accepted(log, {pcr: value for pcr, value in pcrs.items() if pcr != 9}), "a quote without PCR 9"
    # One digest of PCR 4 in the log, and the quote that this log would give.
    wanted = bytes.fromhex(refstate["boots"][0]["pcrs"]["4"][2][2:])
    altered = log.replace(wanted, bytes(32))
    assert altered != log
    replayed = mba.bootlog_parse(base64.b64encode(altered).decode(), "sha256")[0]
    quote = {pcr: f"{replayed.get(str(pcr), 0):064x}" for pcr in pcrs}
    assert quote[4] != pcrs[4] and not accepted(altered, pcrs) and not accepted(altered, quote), "an altered event"
    assert accepted(altered, quote, "accept-all"), "refused for another reason than the policy"
    # PCR 9 of one boot with everything else of the other.
    policy = policies.get_policy("premeasure-uki")
    parsed, other = (mba.bootlog_parse(base64.b64encode(each).decode(), "sha256")[2] for each in (log, other_log))
    assert not policy.evaluate(refstate, parsed) and not policy.evaluate(refstate, other)
    mixture = copy.deepcopy(parsed)
    mixture["events"] = [event for event in parsed["events"] if event["PCRIndex"] != 9]
    mixture["events"] += [event for event in other["events"] if event["PCRIndex"] == 9]
    assert policy.evaluate(refstate, mixture), "a mixture"
    for state in ({"boots": []}, {"boots": [{"pcrs": {}}]}, {"boots": [{"pcrs": {"11": []}}]}, {"kernels": []}):
        assert not accepted(log, pcrs, state=state), state
    # Keylime's own policy, with all that it can be told about no boot at all.
    shipped = {"kernels": [], "scrtm_and_bios": [], **{name: [] for name in ("pk", "kek", "db", "dbx", "mokdig", "mokxdig")}}
    reason = policies.get_policy("example").evaluate(shipped | {"has_secureboot": False}, parsed)
    assert "(11, 'EV_IPL')" in reason or "(9, 'EV_EVENT_TAG')" in reason, reason
    print(f"accepted {known} of {len(boots)}, refused altered, missing, mixed; Keylime's example: {reason.split('unexpected')[-1].strip()}")


{"tpm": check_tpm, "mb": check_mb}[command](*sys.argv[3:])
