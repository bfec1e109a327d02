"""What the cases are made of: UKIs, addons, small archives, signatures, variable stores, the disk."""
import hashlib, json, os, shlex, shutil, struct, subprocess, sys, uuid

from parts import Missing

HERE = os.path.dirname(os.path.abspath(__file__))
BOOT = os.path.dirname(HERE)
OWNER = "11111111-2222-3333-4444-123456789abc"
DATABASE = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
SHIM_LOCK = "605dab50-e046-4300-abb6-3dd810dd8b23"
# A kernel that checks its emulated timer gives up where the machine is busy.
CONSOLE = "console=ttyS0 quiet panic=-1 no_timer_check"
OSREL = 'ID=matrix\nNAME="Boot matrix"\nPRETTY_NAME="Boot matrix {0}"\nVERSION_ID={0}\n'
SBAT = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n"


class Case:
    """One case while it is built: the files of the boot partitions, and how to boot and predict."""

    def __init__(self, work, name, what, parts):
        self.work, self.name, self.what, self.parts = work, name, what, parts
        self.dir = os.path.join(work, "cases", name)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.esp, self.inputs = os.path.join(self.dir, "esp"), os.path.join(self.dir, "in")
        os.makedirs(self.esp)
        os.makedirs(self.inputs)
        self.xbootldr = None
        self.disk_options = []
        self.code = self.vars = None
        self.secure = False
        self.boot_args, self.predict, self.after = [], [], []
        self.pcrs = ["4", "5", "9", "11", "12", "13"]
        self.disk = os.path.join(self.dir, "disk.img")
        self.ready_disk = False
        self.stage = None
        self.unknown = {}
        self.oracles = []

    # --- firmware -------------------------------------------------------------------------------------------------

    def firmware(self, suite, keys=None, secure=False, vars_="OVMF_VARS_4M.fd"):
        """OVMF of a suite. keys: names of keys to enroll in db, which turns Secure Boot on."""
        self.secure = secure or keys is not None or "ms" in vars_
        part, folder = f"ovmf-{suite}", "usr/share/OVMF/"
        self.code = self.parts.file(part, folder + ("OVMF_CODE_4M.secboot.fd" if self.secure else "OVMF_CODE_4M.fd"))
        self.vars = self.parts.file(part, folder + vars_)
        on = keys is not None or "ms" in vars_
        if keys:
            self.enroll(["--set-pk", OWNER, self.key("PK.crt"), "--add-kek", OWNER, self.key("KEK.crt"), "--sb"]
                        + [word for key in keys for word in ("--add-db", OWNER, self.key(key + ".crt"))])
        # From this version on the kernel's first ExitBootServices fails.
        failing = int(self.parts.version(part).split(".")[0]) >= 2026
        self.predict += ["--secure-boot", "on" if on else "off",
                         "--exit-boot-services", "failure-then-success" if failing else "success"]
        if on:
            self.pcrs.append("7")
        return self

    def enroll(self, options):
        out = os.path.join(self.inputs, "vars.fd")
        self.run([os.path.join(self.work, "venv/bin/virt-fw-vars"), "--input", self.vars, "--output", out + ".new", *options])
        os.rename(out + ".new", out)
        self.vars = out

    def key(self, name):
        return os.path.join(self.work, "keys", name)

    # --- files ----------------------------------------------------------------------------------------------------

    def run(self, command, **more):
        done = subprocess.run(command, capture_output=True, text=True, **more)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(map(str, command))}: {done.stdout}{done.stderr}")
        return done.stdout

    def put(self, source, path, where=None):
        """Bytes, a text or a file, to a path on the ESP (or another folder)."""
        to = os.path.join(where or self.esp, path)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        if isinstance(source, bytes):
            with open(to, "wb") as file:
                file.write(source)
        else:
            shutil.copyfile(source, to)
        return to

    def text(self, path, text, where=None):
        return self.put(text.encode(), path, where)

    def input(self, name, content):
        return self.put(content if isinstance(content, bytes) else content.encode(), name, self.inputs)

    def loader(self, part, sign=None, path="EFI/BOOT/BOOTX64.EFI"):
        """systemd-boot of a part as the program that the firmware starts."""
        source = self.parts.boot(part, "systemd-bootx64.efi")
        major = self.parts.major(part)
        if major >= 257 and not self.oracles:
            # Older ones know no profiles.
            self.oracles.append("bootctl of " + ("trixie" if major == 257 else "sid"))
        if sign:
            source = self.sign(sign, source, os.path.join(self.inputs, "loader.efi"))
        self.put(source, path)

    def conf(self, *lines):
        self.text("loader/loader.conf", "".join(f"{line}\n" for line in ("timeout 0", *lines)))

    def sign(self, key, source, to=None):
        to = to or source
        self.run(["sbsign", "--key", self.key(key + ".key"), "--cert", self.key(key + ".crt"), "--output", to + ".signed", source])
        os.rename(to + ".signed", to)
        return to

    # --- images ---------------------------------------------------------------------------------------------------

    def tiny(self):
        folder = os.path.join(BOOT, "tiny")
        return os.path.join(folder, "vmlinuz"), os.path.join(folder, "initrd.cpio")

    def sections(self, part, kernel=None, cmdline="", uname=None):
        """The usual sections of a UKI, in ukify's order; the tiny kernel unless another part is named."""
        linux, initrd = self.tiny()
        version = self.parts.version(part)
        self.after_facts(self.parts.major(part))
        if kernel:
            linux = self.parts.kernel(kernel)
        sections = [(".osrel", OSREL.format(version.split("~")[0]).encode()),
                    (".cmdline", f"{CONSOLE} {cmdline}".strip().encode()),
                    (".uname", (uname or "6.12-rig-tiny").encode()),
                    (".initrd", read(initrd)), (".linux", read(linux))]
        return [s for s in sections if not (s[0] == ".uname" and uname is None and kernel)]

    def after_facts(self, major):
        """From 261 on PCR 9 holds a secret of the machine: only the guest can tell."""
        if major >= 261 and "9" not in self.unknown:
            self.unknown["9"] = "boot secret"
            self.after += ["--boot-secret", "{guest}/extra/boot-secret"]

    def uki(self, part, path, sections, sign=None, where=None):
        """A UKI with the stub of a part, put together here, to a path on the ESP."""
        image = append_sections(read(self.parts.boot(part, "linuxx64.efi.stub")), sections)
        made = self.input(os.path.basename(path), image)
        if sign:
            self.sign(sign, made)
        return self.put(made, path, where)

    def addon(self, part, path, sections, sign=None):
        image = append_sections(read(self.parts.boot(part, "addonx64.efi.stub")), sections)
        made = self.input(os.path.basename(path), image)
        if sign:
            self.sign(sign, made)
        return self.put(made, path)

    def ukify(self, suite, name, options, files):
        """Runs ukify in the tools chroot of a suite. options may name the files, which are copied in by base name."""
        chroot = self.chroot(suite, "ukify")
        box = f"box{os.getpid()}"
        folder = os.path.join(chroot, box)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        for file in files:
            shutil.copyfile(file, os.path.join(folder, os.path.basename(file)))
        command = f"cd /{box} && " + shlex.join(["ukify", "build", *options, f"--output={name}"])
        self.run(["chroot", chroot, "sh", "-c", command], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})
        made = self.put(os.path.join(folder, name), name, self.inputs)
        shutil.rmtree(folder)
        return made

    def mkosi(self, suite, *options):
        """The image of ../mkosi, built by mkosi in the tools chroot of a suite, with contrib's script predicting it."""
        chroot = self.chroot(suite, "mkosi")
        folder = os.path.join(chroot, "matrix-mkosi")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(os.path.join(BOOT, "mkosi"), folder, symlinks=True)
        shutil.copy(os.path.join(BOOT, "../../contrib/mkosi.postoutput"), folder)
        shutil.copy(os.environ["PREMEASURE"], os.path.join(chroot, "usr/bin/premeasure"))
        sources = os.path.join(folder, f"sandbox-{suite}/etc/apt/sources.list.d/mkosi.sources")
        mirror = read(os.path.join(chroot, "etc/apt/sources.list")).decode().split()[1]  # as mkchroot.sh wrote it
        text = read(sources).decode().replace("@MIRROR@", mirror)
        self.put(text.encode(), sources, "/")
        kind = {"trixie": "yes", "sid": "unsigned"}[suite]
        command = shlex.join(["mkosi", f"--release={suite}", f"--sandbox-tree=sandbox-{suite}",
                              f"--unified-kernel-images={kind}", *options, "--force", "build"])
        out = self.run([os.path.join(BOOT, "incontainer.sh"), chroot, "sh", "-c", f"cd /matrix-mkosi && {command} 2>&1"])
        self.input("mkosi.log", out)
        self.run(["cp", "--sparse=always", os.path.join(folder, "rig_1.raw"), self.disk])
        for file in sorted(os.listdir(folder)):
            if file.startswith("rig_1.") and not file.endswith(".raw"):
                self.put(os.path.join(folder, file), file, self.inputs)
        shutil.rmtree(folder)
        self.ready_disk = True

    def chroot(self, suite, tool):
        """The tools chroot of a suite."""
        chroot = os.path.join(self.work, "chroot", suite)
        if not os.path.exists(os.path.join(chroot, "usr/bin", tool)):
            raise Missing(f"{tool} of {suite} (no chroot in {chroot})")
        return chroot

    # --- the disk -------------------------------------------------------------------------------------------------

    def finish(self):
        """Writes the disk."""
        if not self.ready_disk:
            more = ["--xbootldr", self.xbootldr] if self.xbootldr else []
            self.run([sys.executable, os.path.join(BOOT, "mkdisk.py"), self.esp, self.disk, *self.disk_options, *more],
                     env=dict(os.environ, SOURCE_DATE_EPOCH="1700000000"))

    # --- Secure Boot databases --------------------------------------------------------------------------------------

    def stored(self, name, data, vendor=DATABASE, attributes=0x27):
        """A variable of the store, as it is: raw bytes."""
        entry = {"name": name, "guid": vendor, "attr": attributes, "data": data.hex()}
        if attributes & 0x20:
            entry["time"] = "ea0701010000000000000000" + 8 * "0"
        text = json.dumps({"version": 2, "variables": [entry]})
        self.enroll(["--set-json", self.input(f"{name}.json", text)])

    def made(self, command, name):
        """A file that a tool writes, named last on its command line."""
        path = os.path.join(self.inputs, name)
        self.run([*command, path])
        return read(path)

    def certificates(self, *names):
        """Signature lists of certificates."""
        return b"".join(self.made(["cert-to-efi-sig-list", "-g", OWNER, self.key(n + ".crt")], n + ".esl") for n in names)

    def revoked(self, name):
        """A signature list that names a certificate by the digest of its TBSCertificate, revoked for ever."""
        return self.made(["cert-to-efi-hash-list", "-g", OWNER, "-s", "256", self.key(name + ".crt")], name + ".hash")

    def digests(self, *images):
        """A signature list of image digests."""
        return self.made(["hash-to-efi-sig-list", *images], "images.esl")

    def issue(self, name, issuer, ca=False):
        """A key and its certificate, signed by an issuer of issue(); its own where that is the name."""
        at = os.path.join(self.inputs, name)
        self.run(["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", at + ".key", "-out", at + ".csr"])
        by = os.path.join(self.inputs, issuer)
        signer = ["-signkey", at + ".key"] if name == issuer else ["-CA", by + ".crt", "-CAkey", by + ".key", "-CAcreateserial"]
        extensions = self.input("extensions", f"basicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}\n")
        self.run(["openssl", "x509", "-req", "-days", "3650", "-in", at + ".csr", *signer, "-extfile", extensions, "-out", at + ".crt"])
        return at

    def expired(self, name):
        """A key and its own certificate, which was valid in 2011 only."""
        at = os.path.join(self.inputs, name)
        self.run(["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", at + ".key", "-out", at + ".csr"])
        for file, text in (("index", ""), ("serial", "01\n")):
            self.input(file, text)
        config = self.input("ca.conf", f"[ca]\ndefault_ca=x\n[x]\ndatabase={self.inputs}/index\nserial={self.inputs}/serial\n"
                            f"new_certs_dir={self.inputs}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
        self.run(["openssl", "ca", "-config", config, "-batch", "-selfsign", "-keyfile", at + ".key", "-in", at + ".csr", "-notext",
                  "-startdate", "20110101000000Z", "-enddate", "20111231000000Z", "-out", at + ".crt"])
        return at

    def firmware_too(self, *unknown):
        """PCR 0 to 3 and 6 as well, from the firmware's file and the machine's shape."""
        version = ".".join(self.run(["qemu-system-x86_64", "--version"]).split()[3].split(".")[:2])
        self.predict += ["--firmware", self.code, "--machine", f"cpus=2,mem=1024,qemu={version}"]
        self.pcrs += ["0", "1", "2", "3", "6", "8"]
        self.unknown["1"] = "boot variables and tables of the machine"
        for pcr in unknown:
            self.unknown[pcr] = "build of the firmware"


def read(path):
    with open(path, "rb") as file:
        return file.read()


def append_sections(image, sections):
    """A PE image with more sections behind its own: (name, bytes) or (name, bytes, VirtualSize)."""
    image = bytearray(image)
    pe = struct.unpack_from("<I", image, 0x3C)[0]
    count, optional = struct.unpack_from("<H", image, pe + 6)[0], struct.unpack_from("<H", image, pe + 20)[0]
    table = pe + 24 + optional
    headers_size = struct.unpack_from("<I", image, pe + 24 + 60)[0]
    if table + 40 * (count + len(sections)) > headers_size:
        raise ValueError(f"no room for {len(sections)} section headers")
    ends = [struct.unpack_from("<II", image, table + 40 * i + 8) for i in range(count)]
    address = max(size + at for size, at in ends)
    for name, data, *size in sections:
        size = size[0] if size else len(data)
        address = align(address, 0x1000)
        at = align(len(image), 0x200)
        image += bytes(at - len(image))
        header = struct.pack("<8sIIIIIIHHI", name.encode(), size, address, align(len(data), 0x200), at, 0, 0, 0, 0, 0x40000040)
        image[table + 40 * count:table + 40 * count + 40] = header
        image += data + bytes(align(len(data), 0x200) - len(data))
        address += max(size, 1)
        count += 1
    struct.pack_into("<H", image, pe + 6, count)
    struct.pack_into("<I", image, pe + 24 + 56, align(address, 0x1000))
    return bytes(image)


def align(value, to):
    return (value + to - 1) // to * to


def cpio(files):
    """A newc archive of files {path: bytes}, parents included."""
    names = {parent: None for path in files for parent in parents(path)} | files
    out = b""
    for inode, (name, data) in enumerate([*sorted(names.items()), ("TRAILER!!!", b"")], 1):
        mode = 0 if name == "TRAILER!!!" else 0o40755 if data is None else 0o100644
        fields = (inode, mode, 0, 0, 1, 0, len(data or b""), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + (data or b"")
        out += bytes(-len(out) % 4)
    return out + bytes(-len(out) % 512)


def parents(path):
    words = path.split("/")
    return ["/".join(words[:i]) for i in range(1, len(words))]


def microcode(text):
    return cpio({"kernel/x86/microcode/AuthenticAMD.bin": text * 10})


def devicetree(compatible):
    """The smallest flattened devicetree with a root `compatible`."""
    strings = b"compatible\0"
    value = compatible.encode() + b"\0"
    structure = struct.pack(">I", 1) + bytes(4) + struct.pack(">III", 3, len(value), 0) + value + bytes(-len(value) % 4)
    structure += struct.pack(">II", 2, 9)
    reserved, at = bytes(16), 40
    offset = at + len(reserved)
    total = offset + len(structure) + len(strings)
    header = struct.pack(">10I", 0xD00DFEED, total, offset, offset + len(structure), at, 17, 16, 0, len(strings), len(structure))
    return header + reserved + structure + strings


def chid(*fields):
    """A computer hardware id: UUID version 5 of the fields joined by `&` in UTF-16."""
    namespace = uuid.UUID("70ffd812-4c7f-4c7d-0000-000000000000")
    digest = bytearray(hashlib.sha1(namespace.bytes + "&".join(fields).encode("utf-16-le")).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(digest))


def hwids(entries):
    """The section .hwids: (descriptor, UUID, name, compatible or firmware id)."""
    strings, rows, base = b"", b"", 28 * (len(entries) + 1)
    for descriptor, guid, name, target in entries:
        first = base + len(strings)
        strings += name.encode() + b"\0"
        rows += struct.pack("<I16sII", descriptor, guid.bytes_le, first, base + len(strings))
        strings += target.encode() + b"\0"
    return rows + bytes(28) + strings


def bitmap():
    pixels = b"\x10\x20\x30\0" * 4
    return (struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
            + struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 32, 0, len(pixels), 2835, 2835, 0, 0) + pixels)


def squash(case, name, kind):
    """A small extension image."""
    tree = os.path.join(case.dir, "tree")
    base = "usr/lib" if kind == "sysext" else "etc"
    case.text(f"{base}/extension-release.d/extension-release.{name}", "ID=_any\n", tree)
    case.text(f"{base}/{name}.txt", f"{kind} {name}\n", tree)
    out = os.path.join(case.inputs, f"{name}.raw")
    case.run(["mksquashfs", tree, out, "-quiet", "-noappend", "-all-root", "-all-time", "0", "-mkfs-time", "0"])
    shutil.rmtree(tree)
    return out
