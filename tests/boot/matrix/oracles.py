"""What other tools say of the same disk: bootctl of the boot menu, veritysetup of the hash tree, systemd-dissect of the
partitions that a root hash names, mkosi of the parts of its UKI."""
import json, os, re, shutil, struct, subprocess, tempfile

import compare

# Mounts a copy of the boot partition where bootctl wants one: at the root of a file system.
LIST = """mount -t tmpfs tmpfs "$1/mnt" && cp -r "$2"/. "$1/mnt" &&
exec chroot "$1" env SYSTEMD_RELAX_ESP_CHECKS=1 bootctl list --json=short --esp-path=/mnt"""


def bootctl_menu(chroot, esp):
    """Ids in the order of `bootctl list`, which leaves out boot counters; None where it can't run."""
    if os.geteuid() != 0 or not os.path.exists(os.path.join(chroot, "usr/bin/bootctl")):
        return None
    done = subprocess.run(["unshare", "--mount", "sh", "-c", LIST, "sh", chroot, esp], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"bootctl list: {done.stderr.strip()}")
    return [entry["id"] for entry in json.loads(done.stdout)]


def menu_faults(case):
    """Where premeasure's menu is another than bootctl's."""
    listed = case.get("bootctl")
    if listed is None:
        return []
    done = subprocess.run([os.environ["PREMEASURE"], "inspect", case["disk"], "--json"], capture_output=True, text=True)
    own = [re.sub(r"\+\d+(-\d+)?(?=\.(efi|conf))", "", boot["id"]) for boot in json.loads(done.stdout)["boots"]]
    # systemd-boot's own id of a first profile is the file's name (its variable LoaderEntries); bootctl adds the profile's.
    firsts = {}
    for entry in listed:
        firsts.setdefault(entry.split("@")[0], entry)
    listed = [entry.split("@")[0] if firsts[entry.split("@")[0]] == entry else entry for entry in listed]
    return [] if own == listed else [f"boot menu: bootctl lists {listed}, premeasure {own}"]


def verity_faults(case, folder):
    """`veritysetup verify` and `premeasure check` of the disk as it is, and with one byte of the data changed."""
    root, hashes, root_hash = verity(case["disk"])
    copy = os.path.join(folder, "flipped.img")
    subprocess.run(["cp", "--sparse=always", case["disk"], copy], check=True)
    with open(copy, "r+b") as file:
        file.seek(root[0] + 4096 + 17)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    faults = []
    for disk, whole in ((case["disk"], True), (copy, False)):
        says = {"veritysetup": veritysetup(disk, root, hashes, root_hash, folder), "premeasure check": check(disk)}
        faults += [f"verity: {tool} says {'good' if good else 'bad'} of the {'whole' if whole else 'changed'} disk"
                   for tool, good in says.items() if good is not whole]
    os.unlink(copy)
    return faults


def verity(disk):
    """(offset, length) of root and hash partition, and the root hash that their UUIDs hold."""
    with open(disk, "rb") as file:
        head = file.read(34 * 512)
    found = {}
    for at in range(1024, 34 * 512, 128):
        first, last = struct.unpack_from("<QQ", head, at + 32)
        name = head[at + 56:at + 128].decode("utf-16-le").rstrip("\0")
        kind = "hash" if "verity" in name else "root" if "root" in name else None
        if kind and first:
            found[kind] = ((first * 512, (last - first + 1) * 512), mixed(head[at + 16:at + 32]))
    return found["root"][0], found["hash"][0], found["root"][1] + found["hash"][1]


def mixed(guid):
    """A GUID's digits in the order in which they are written."""
    return (guid[3::-1] + guid[5:3:-1] + guid[7:5:-1] + guid[8:]).hex()


def veritysetup(disk, root, hashes, root_hash, folder):
    """True when veritysetup finds the tree whole."""
    parts = []
    for name, (at, length) in (("root", root), ("hash", hashes)):
        path = os.path.join(folder, f"verity-{name}")
        subprocess.run(["dd", f"if={disk}", f"of={path}", "bs=1M", "iflag=skip_bytes,count_bytes", f"skip={at}", f"count={length}",
                        "conv=sparse", "status=none"], check=True)
        parts.append(path)
    tool = "/usr/sbin/veritysetup"
    done = subprocess.run([tool, "verify", *parts, root_hash], capture_output=True, text=True)
    for path in parts:
        os.unlink(path)
    return done.returncode == 0


def check(disk):
    """True when `premeasure check` finds nothing wrong with the hash tree and its partitions."""
    done = subprocess.run([os.environ["PREMEASURE"], "check", disk, "--json"], capture_output=True, text=True)
    report = json.loads(done.stdout)
    return not [finding for finding in report["findings"] if "verity" in finding["code"] and finding["severity"] != "note"]


def dissect_faults(case, folder, chroot):
    """`systemd-dissect --validate` and `premeasure check` of the disk, and with the data partition under another UUID."""
    root_hash = verity(case["disk"])[2]
    inside = os.path.join(chroot, "dissect.img")
    faults = []
    for whole in (True, False):
        subprocess.run(["cp", "--sparse=always", case["disk"], inside], check=True)
        if not whole:
            # Any tool that changes the table keeps its checksums right.
            other = "0" * 8 + "-0000-4000-8000-" + "0" * 12
            subprocess.run(["/usr/sbin/sgdisk", f"--partition-guid={number_of_root(inside)}:{other}", inside], check=True, capture_output=True)
        done = subprocess.run(["chroot", chroot, "systemd-dissect", "--validate", f"--root-hash={root_hash}",
                               "--image-policy=root=verity:esp=unprotected+absent:=ignore", "/dissect.img"], capture_output=True, text=True)
        says = {"systemd-dissect": done.returncode == 0, "premeasure check": check(inside)}
        faults += [f"partition UUIDs: {tool} says {'good' if good else 'bad'} of the {'whole' if whole else 'changed'} disk"
                   for tool, good in says.items() if good is not whole]
    os.unlink(inside)
    return faults


def number_of_root(disk):
    """The number of the root's data partition."""
    with open(disk, "rb") as file:
        head = file.read(34 * 512)
    names = [head[at + 56:at + 128].decode("utf-16-le").rstrip("\0") for at in range(1024, 34 * 512, 128)]
    return next(number for number, name in enumerate(names, 1) if "root" in name and "verity" not in name)


def split_faults(case, folder):
    """Kernel and initrd as mkosi took them out of its UKI are those of the image; with a changed byte they are not."""
    faults = []
    with tempfile.TemporaryDirectory(dir=folder) as results:
        os.link(case["disk"], os.path.join(results, "rig_1.raw"))
        for suffix in ("efi", "vmlinuz", "initrd", "manifest"):
            shutil.copyfile(os.path.join(folder, "in", f"rig_1.{suffix}"), os.path.join(results, f"rig_1.{suffix}"))
        for suffix, code in ((None, []), ("vmlinuz", ["split-kernel-differs"]), ("initrd", ["split-initrd-differs"])):
            path = os.path.join(results, f"rig_1.{suffix}")
            if suffix:
                with open(path, "r+b") as file:
                    file.seek(5000)
                    byte = file.read(1)[0]
                    file.seek(5000)
                    file.write(bytes([byte ^ 1]))
            done = subprocess.run([os.environ["PREMEASURE"], "check", results, "--json"], capture_output=True, text=True)
            found = [finding["code"] for finding in json.loads(done.stdout)["findings"] if finding["code"].startswith("split-")]
            if found != code:
                faults.append(f"parts of mkosi's UKI, {suffix or 'none'} changed: found {found}, expected {code}")
            if suffix:
                shutil.copyfile(os.path.join(folder, "in", f"rig_1.{suffix}"), path)
    return faults


def document_faults(case, folder, observed):
    """The document that contrib's script wrote beside mkosi's image must hold the boot among its variants."""
    path = os.path.join(folder, "in", "rig_1.pcrs.json")
    if not os.path.exists(path):
        return [f"mkosi.postoutput wrote no {os.path.basename(path)}"]
    document = compare.load(path)
    near = []
    for variant in document["variants"]:
        wrong = [pcr["index"] for pcr in variant["pcrs"] for value in pcr["values"]
                 if value["stage"] == case["stage"] and value["status"] == "computed" and str(pcr["index"]) in case["pcrs"]
                 for bank, digest in value["digests"].items() if observed[bank][str(pcr["index"])] != digest]
        if not wrong:
            return []
        near.append(f"{variant['id']}: PCR {', '.join(map(str, sorted(set(wrong))))}")
    return [f"mkosi.postoutput: no variant is the boot: {'; '.join(near)}"]
