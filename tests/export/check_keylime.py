"""Keylime's own code on an exported tpm_policy.

usage: check_keylime.py POLICY BOOTS FOLDER      BOOTS: the same boots as whole tuples (--format flashbots)
Needs a Python with PyPI's keylime 7.14.3 and what its wheel does not declare:
    python3 -m venv V && V/bin/pip install keylime==7.14.3 cryptography pyyaml jsonschema tornado sqlalchemy requests \\
        psutil lark packaging pyasn1 pyasn1-modules jinja2 typing-extensions
FOLDER is for configuration files that Keylime insists on.
"""
import json
import os
import sys
import types

policy_file, boots_file, folder = sys.argv[1:4]
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
    os.environ[f"KEYLIME_{component.upper()}_CONFIG"] = path

from keylime.common import algorithms  # noqa: E402
from keylime.mba import mba  # noqa: E402
from keylime.tpm import tpm_main, tpm_util  # noqa: E402

mba.load_imports(skip_custom_policies=True)

with open(policy_file) as text:
    policy = tpm_util.readPolicy(text.read())
with open(boots_file) as text:
    boots = [{int(pcr): value["expected"] for pcr, value in boot["measurements"].items()} for boot in json.load(text)]
listed = [int(pcr) for pcr in policy if pcr != "mask"]
boots = [{pcr: value for pcr, value in boot.items() if pcr in listed} for boot in boots]


def accepted(pcrs):
    failure = tpm_main.Tpm().check_pcrs(
        None, policy, pcrs, None, None, None, None, None, None, algorithms.Hash("sha256"), 0, True
    )
    return not failure


good = sum(accepted(boot) for boot in boots)
altered = boots[0] | {11: "00" * 32}
upper = {pcr: value.upper() for pcr, value in boots[0].items()}
missing = {pcr: value for pcr, value in boots[0].items() if pcr != 11}
mixture = boots[0] | {11: boots[1][11]}
refused = [name for name, pcrs in (("altered", altered), ("upper case", upper), ("missing", missing)) if not accepted(pcrs)]
print(f"accepted {good}, refused {', '.join(refused)}; {'accepted' if accepted(mixture) else 'refused'} the mixture")
