"""One prediction against what the guest's TPM and event log say."""
import json, os, sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import evlog

IMAGE_LOAD = {0x80000003, 0x80000004, 0x80000005}
EQUAL, TOLD, UNKNOWN, DIFFERS = "=", "+", "?", "X"


class Result:
    """A mark per PCR, and a line per fault."""

    def __init__(self):
        self.marks, self.faults = {}, []

    def differs(self, pcr, why):
        self.marks[pcr] = DIFFERS
        self.faults.append(f"PCR {pcr}: {why}")


def compare(pcrs, predicted, observed, predicted_log=None, observed_log=None):
    """predicted and observed: {bank: {pcr: hex}}; logs: paths. Every bank that the guest has must be predicted."""
    result = Result()
    if not observed:
        raise RuntimeError("the guest reported no bank at all")
    for pcr in pcrs:
        values(result, pcr, predicted, observed)
    if predicted_log:
        ours, theirs = (evlog.parse(read(log)) for log in (predicted_log, observed_log))
        for pcr in pcrs:
            if result.marks[pcr] != UNKNOWN:
                events(result, pcr, of_pcr(ours, pcr), of_pcr(theirs, pcr))
    return result


def values(result, pcr, predicted, observed):
    result.marks[pcr] = EQUAL
    for bank in sorted(observed):
        ours, theirs = predicted.get(bank, {}).get(pcr), observed[bank][pcr]
        if ours is None:
            if result.marks[pcr] == EQUAL:
                result.marks[pcr] = UNKNOWN
        elif ours != theirs:
            result.differs(pcr, f"{bank}: predicted {ours}, the guest has {theirs}")


def events(result, pcr, ours, theirs):
    """Type, digests of every bank, and data, but for the addresses in image loads."""
    for number, (own, other) in enumerate(zip(ours, theirs)):
        for what, a, b in (("type", own.type, other.type), ("digests", own.digests, other.digests), ("data", data(own), data(other))):
            if a != b:
                return result.differs(pcr, f"event {number}: {what} of {name(other)}, predicted as {name(own)}")
    if len(ours) != len(theirs):
        more = name((ours if len(ours) > len(theirs) else theirs)[min(len(ours), len(theirs))])
        who = "predicted but not in the guest's log" if len(ours) > len(theirs) else "in the guest's log, not predicted"
        result.differs(pcr, f"{len(ours)} events predicted, the guest has {len(theirs)}: {more} is {who}")


def replays(log, observed, user=()):
    """PCRs 0 to 15 whose value is not what the guest's own log gives; 10 is the kernel's."""
    calculated = evlog.replay(evlog.parse(read(log)), user)
    return sorted({pcr for bank in observed for pcr in range(16)
                   if pcr != 10 and observed[bank][str(pcr)] != calculated[bank][str(pcr)]})


def of_pcr(log, pcr):
    return [event for event in log[1:] if event.pcr == int(pcr) and event.type != 3]


def data(event):
    return b"" if event.type in IMAGE_LOAD else event.data


def name(event):
    try:
        return f"{event.name} {evlog.shortname(event)}"
    except Exception:  # an event that evlog can't describe still has its name
        return event.name


def read(path):
    with open(path, "rb") as file:
        return file.read()


def load(path):
    with open(path) as file:
        return json.load(file)
