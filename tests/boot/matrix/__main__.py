"""Builds disks from Debian packages, predicts what they boot, boots them, and compares.

usage: python3 tests/boot/matrix [--work DIR] [--jobs N] [--more] [CASE ...]
       python3 tests/boot/matrix --list
       python3 tests/boot/matrix --more         all cases, also those that ./test --all leaves out
       python3 tests/boot/matrix --recheck      predict again and compare with the boots that are there; boots nothing

Each case is predicted before it is booted under QEMU + OVMF + swtpm; the values of every PCR that it names, in every bank,
and the events, must be those that the guest reports. A case that is done is not repeated unless what it is made of, or its
prediction, has changed. A component that the archive no longer has is fetched no more: its cases are skipped, by name.
  =  equal, all banks, event by event      +  equal once told what only the running machine can know
  ?  unknown, as it must be                X  differs                .  not looked at
Exit code 0 equal, 1 different, 2 could not be run. Needs root for the chroots of tools; cases without them run as anyone.
"""
import argparse, concurrent.futures, hashlib, inspect, json, os, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import build, cases, compare, oracles, parts, prepare

TOP = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
# On a busy machine an emulated timer may come so late that the guest's kernel gives up.
ATTEMPTS = 3
SHARED = ["../mkdisk.py", "../boot.py", "../tiny/vmlinuz", "../tiny/initrd.cpio"]


def main():
    options = arguments()
    if options.list:
        for name, function in cases.CASES.items():
            print(f"{name:28} {'(more) ' if function.more else ''}{function.what}")
        return 0
    work = os.path.abspath(options.work)
    os.makedirs(work, exist_ok=True)
    components = parts.Parts(work)
    chosen = options.cases or [name for name, function in cases.CASES.items() if options.more or not function.more]
    if options.recheck:
        prepare.binary()
    else:
        prepare.everything(work, components, [cases.CASES[name] for name in chosen])
    started = time.time()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        # A whole system takes longer than all others together: it starts first.
        order = sorted(chosen, key=lambda name: not name.startswith("mkosi"))
        done = dict(zip(order, pool.map(lambda name: attempt(work, name, options), order)))
        results = [done[name] for name in chosen]
    return report(work, results, time.time() - started)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default=os.path.join(TOP, "target/boot-matrix"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--more", action="store_true")
    parser.add_argument("--recheck", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one boot")
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in cases.CASES]
    if unknown:
        raise SystemExit(f"no such case: {', '.join(unknown)}; --list names them")
    return options


def attempt(work, name, options):
    """What became of one case: never raises."""
    started = time.time()
    try:
        result = run(work, name, options)
    except parts.Missing as error:
        result = {"case": name, "skipped": str(error)}
    except FileNotFoundError as error:
        # A tool that is not installed.
        key = "skipped" if os.path.basename(error.filename or "") in prepare.PROGRAMS else "broken"
        result = {"case": name, key: str(error)}
    except Exception as error:  # one broken case must not hide the others
        result = {"case": name, "broken": f"{type(error).__name__}: {error}"}
    state = "skipped" if "skipped" in result else "BROKEN" if "broken" in result else "WRONG" if result["faults"] else "equal"
    prepare.say(f"{name}: {state}, {time.time() - started:.0f} s")
    return result


def run(work, name, options):
    function = cases.CASES[name]
    folder = os.path.join(work, "cases", name)
    key = fingerprint(function, work)
    case = load_state(folder, None if options.recheck else key)
    if case is None:
        if options.recheck:
            raise parts.Missing("a boot of it: not booted yet")
        case = make(work, name, function, key)
    prediction = predict(case, "predicted", case["predict"])
    booted = case.get("booted_with") == prediction
    complete = os.path.exists(os.path.join(folder, "boot", "boot.json")) and compare.load(os.path.join(folder, "boot", "boot.json"))["complete"]
    if options.recheck and not complete:
        raise parts.Missing("a boot of it: not booted yet")
    if not booted and not options.recheck:
        boot(case, folder, options)
        case["booted_with"] = prediction
        save_state(folder, case)
    return verdict(case, folder)


def fingerprint(function, work):
    """Of all that a case is made of but the components, which the state names: its code, what that calls, scripts, keys."""
    digest = hashlib.sha256()
    for source in sorted(sources(function.build, {})):
        digest.update(source.encode())
    for file in SHARED:
        digest.update(parts.sha256(os.path.join(HERE, file)).encode())
    if function.what.startswith("mkosi"):
        for folder, _, files in sorted(os.walk(os.path.join(HERE, "../mkosi"))):
            for file in sorted(files):
                digest.update(parts.sha256(os.path.join(folder, file)).encode())
    folder = os.path.join(work, "keys")
    for key in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        digest.update(parts.sha256(os.path.join(folder, key)).encode())
    return digest.hexdigest()


def sources(function, seen):
    """The source of a function, and of those of ours that it names."""
    if function in seen:
        return []
    seen[function] = inspect.getsource(function)
    for name in function.__code__.co_names:
        for owner in (cases, build, build.Case):
            found = getattr(owner, name, None)
            if inspect.isfunction(found):
                sources(found, seen)
            elif isinstance(found, (str, bytes, tuple)):
                seen[name] = f"{name} = {found!r}"
    return seen.values()


def load_state(folder, key):
    path = os.path.join(folder, "case.json")
    if not os.path.exists(path):
        return None
    case = compare.load(path)
    return case if key in (None, case["fingerprint"]) and os.path.exists(case["disk"]) else None


def save_state(folder, case):
    with open(os.path.join(folder, "case.json"), "w") as file:
        json.dump(case, file, indent=1)


def make(work, name, function, key):
    components = parts.Parts(work)
    case = build.Case(work, name, function.what, components)
    function.build(case)
    case.finish()
    state = {"case": name, "what": function.what, "fingerprint": key, "components": components.used, "dir": case.dir,
             "disk": case.disk, "code": case.code, "vars": case.vars, "secure": case.secure, "predict": case.predict,
             "after": case.after, "boot_args": case.boot_args, "pcrs": case.pcrs, "unknown": case.unknown, "stage": case.stage,
             "flip": function.flip, "oracles": case.oracles}
    for oracle in case.oracles:
        if oracle.startswith("bootctl of ") and not case.xbootldr:
            state["bootctl"] = oracles.bootctl_menu(os.path.join(work, "chroot", oracle.split()[-1]), case.esp)
    save_state(case.dir, state)
    return state


def predict(case, name, options):
    """Runs premeasure; returns the digest of what it predicts."""
    out = os.path.join(case["dir"], name)
    binary = os.environ["PREMEASURE"]
    stage = ["--stage", case["stage"]] if case["stage"] else []
    common = [binary, "predict", case["disk"], "--bank", "sha1,sha256,sha384,sha512", *options]
    done = subprocess.run([*common, *stage, "--format", "pcrs", "--event-log", out + ".log"], capture_output=True, text=True)
    with open(out + ".err", "w") as file:
        file.write(done.stderr)
    if done.returncode:
        raise RuntimeError(f"premeasure: {done.stderr.strip()}")
    with open(out + ".json", "w") as file:
        file.write(done.stdout)
    return hashlib.sha256(done.stdout.encode() + compare.read(out + ".log")).hexdigest()


def boot(case, folder, options):
    disk = case["disk"]
    if case["flip"]:
        disk = flipped(case)
    command = [sys.executable, os.path.join(HERE, "../boot.py"), "--disk", disk, "--code", case["code"], "--vars", case["vars"],
               "--out", os.path.join(folder, "boot"), "--timeout", str(options.timeout)]
    command += (["--secure"] if case["secure"] else []) + case["boot_args"]
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            break
    else:
        raise RuntimeError(f"no boot: {(done.stdout + done.stderr).strip()}, see {folder}/boot/console.log")


def flipped(case):
    """The disk with one byte changed after the prediction."""
    wanted = case["flip"][0].encode()
    copy = os.path.join(case["dir"], "flipped.img")
    subprocess.run(["cp", "--sparse=always", case["disk"], copy], check=True)
    with open(copy, "r+b") as file:
        content = file.read()
        if content.count(wanted) != 1:
            raise RuntimeError(f"{wanted} occurs {content.count(wanted)} times in the disk")
        at = content.index(wanted) + len(wanted) - 1
        file.seek(at)
        file.write(bytes([content[at] ^ 1]))
    return copy


def verdict(case, folder):
    observed = compare.load(os.path.join(folder, "boot", "pcrs.json"))
    log = os.path.join(folder, "boot", "eventlog.bin")
    before = os.path.join(folder, "predicted")
    result = compare.compare(case["pcrs"], compare.load(before + ".json"), observed, before + ".log", log)
    user = os.path.join(folder, "boot/guest/tpm2-measure.log")
    wrong = compare.replays(log, observed, compare.evlog.userspace(user) if os.path.exists(user) else ())
    result.faults += [f"PCR {pcr}: the guest's own log does not give its value" for pcr in wrong]
    if case["flip"]:
        return caught(case, result)
    result.faults += oracles.menu_faults(case)
    if "verity" in case.get("oracles", ()):
        result.faults += oracles.verity_faults(case, folder)
    for oracle in case.get("oracles", ()):
        if oracle.startswith("dissect of "):
            result.faults += oracles.dissect_faults(case, folder, os.path.join(folder, "../../chroot", oracle.split()[-1]))
    if "split" in case.get("oracles", ()):
        result.faults += oracles.split_faults(case, folder)
    if "document" in case.get("oracles", ()):
        result.faults += oracles.document_faults(case, folder, observed)
    told(case, folder, result, observed, log)
    return {"case": case["case"], "marks": result.marks, "faults": result.faults}


def told(case, folder, result, observed, log):
    """What was unknown before the boot, predicted with what the guest alone can tell."""
    open_ = [pcr for pcr, mark in result.marks.items() if mark == compare.UNKNOWN]
    for pcr in open_:
        if pcr not in case["unknown"]:
            result.faults.append(f"PCR {pcr}: unknown, although all inputs are given")
    for pcr in case["unknown"]:
        if result.marks.get(pcr) == compare.EQUAL:
            result.faults.append(f"PCR {pcr}: known, although it depends on the {case['unknown'][pcr]}")
    if not open_ or not case["after"]:
        return
    facts = []
    for word in case["after"]:
        path = word.replace("{guest}", os.path.join(folder, "boot/guest"))
        # A firmware without random numbers gives no secret.
        facts.append(path if path == word or os.path.exists(path) else "none")
    predict(case, "told", case["predict"] + facts)
    after = os.path.join(folder, "told")
    again = compare.compare(open_, compare.load(after + ".json"), observed, after + ".log", log)
    for pcr, mark in again.marks.items():
        result.marks[pcr] = compare.TOLD if mark == compare.EQUAL else mark
    result.faults += [f"{fault} (told {' '.join(case['after'])})" for fault in again.faults]


def caught(case, result):
    """The self-test: exactly these PCRs must differ, with these events."""
    _, must = case["flip"]
    seen = {pcr for pcr, mark in result.marks.items() if mark == compare.DIFFERS}
    faults = [f"self-test: PCR {pcr} {'not seen to differ' if pcr in must else 'differs'}" for pcr in sorted(seen ^ set(must))]
    for pcr, event in must.items():
        if not any(fault.startswith(f"PCR {pcr}: event") and event in fault for fault in result.faults):
            faults.append(f"self-test: PCR {pcr}: {event!r} is not named: {result.faults}")
    return {"case": case["case"], "marks": {pcr: "=" for pcr in case["pcrs"]} if not faults else result.marks, "faults": faults,
            "note": f"caught the flipped byte in PCR {', '.join(sorted(seen, key=int))}"}


def report(work, results, seconds):
    columns = sorted({pcr for r in results for pcr in r.get("marks", {})}, key=int)
    width = max(len(r["case"]) for r in results)
    print("\n" + " " * width + "  PCR " + " ".join(f"{pcr:>2}" for pcr in columns))
    for r in results:
        if "marks" in r:
            print(f"{r['case']:<{width}}      " + " ".join(f"{r['marks'].get(pcr, '.'):>2}" for pcr in columns)
                  + (f"   {r['note']}" if r.get("note") and not r["faults"] else ""))
    for r in results:
        for fault in r.get("faults", []):
            print(f"{r['case']}: {fault}")
    for r in results:
        if "skipped" in r:
            print(f"SKIPPED {r['case']}: {r['skipped']}")
        if "broken" in r:
            print(f"BROKEN {r['case']}: {r['broken'][-1000:]}")
    with open(os.path.join(work, "matrix.json"), "w") as file:
        json.dump(results, file, indent=1)
    bad = [r["case"] for r in results if r.get("faults") or "broken" in r]
    done = [r for r in results if "marks" in r]
    print(f"matrix: {len(done)} boots compared, {len(bad)} wrong, {sum('skipped' in r for r in results)} skipped, {seconds:.0f} s")
    return 1 if bad else 0 if done else 2


if __name__ == "__main__":
    sys.exit(main())
