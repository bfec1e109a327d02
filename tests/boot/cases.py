#!/usr/bin/env python3
"""Build, boot and record the measured-boot cases.

usage: cases.py --work WORK --out RECORDS [--runs N] [--build-only] CASE [CASE ...]
       cases.py --list

WORK holds x/ (fetch.sh), chroot/{trixie,sid} (mkchroot.sh), keys/ (keys.sh),
venv/ (a Python venv with virt-firmware). Each case is built in WORK/cases/<case>
and its record (no large files) goes to RECORDS/<case>.
"""
import argparse, glob, hashlib, json, os, re, shlex, shutil, struct, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import evlog

CONSOLE = "console=ttyS0 quiet panic=-1"
KEEP = 300 * 1024          # ESP files up to this size are stored in the case
OWNER = "11111111-2222-3333-4444-123456789abc"


def sha256(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


def run(cmd, **kw):
    kw.setdefault("check", True)
    return subprocess.run(cmd, **kw)


class Case:
    """Working state of one case: what goes on the ESP and how it is booted."""

    def __init__(self, work, name, doc):
        self.work, self.name, self.doc = work, name, doc
        self.dir = os.path.join(work, "cases", name)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.esp = os.path.join(self.dir, "esp")
        self.inp = os.path.join(self.dir, "in")
        os.makedirs(self.esp)
        os.makedirs(self.inp)
        self.components, self.recipe, self.notes = {}, [], []
        self.secure, self.ovmf, self.vars = False, None, None
        self.evidence = {}
        self.pairs = []        # (UKI on the ESP, inner kernel file) etc., informative
        self.boot_args = []
        self.disk_size = 128
        self.ready_disk = False
        self.keep = KEEP
        self.parts = None      # (name, path) of a known file inside larger ESP files

    # -- components ---------------------------------------------------------
    def pkg(self, prefix):
        d = sorted(glob.glob(os.path.join(self.work, "x", prefix)))
        if len(d) != 1:
            raise SystemExit(f"{prefix}: {d}")
        return d[0]

    def comp(self, role, pkg, rel):
        d = self.pkg(pkg)
        p = glob.glob(os.path.join(d, rel))
        if len(p) != 1:
            raise SystemExit(f"{pkg} {rel}: {p}")
        p = p[0]
        n, v, arch = os.path.basename(d).split("_")
        deb = os.path.join(self.work, "debs", os.path.basename(d) + ".deb")
        self.components[role] = {"package": n, "version": v, "arch": arch,
                                 "file": os.path.relpath(p, d), "size": os.path.getsize(p),
                                 "sha256": sha256(p),
                                 "deb_sha256": sha256(deb) if os.path.exists(deb) else None}
        return p

    def stub(self, v):
        return self.comp("stub", f"systemd-boot-efi_{v}*", "usr/lib/systemd/boot/efi/linuxx64.efi.stub")

    def addon_stub(self, v):
        return self.comp("addon-stub", f"systemd-boot-efi_{v}*", "usr/lib/systemd/boot/efi/addonx64.efi.stub")

    def sdboot(self, v):
        return self.comp("boot-loader", f"systemd-boot-efi_{v}*", "usr/lib/systemd/boot/efi/systemd-bootx64.efi")

    def kernel(self, v):
        if v == "7.2":
            return self.comp("kernel", "linux-binary-7*", "usr/lib/modules/*/vmlinuz")
        return self.comp("kernel", f"linux-image-{v}.*", "boot/vmlinuz-*")

    def module(self, v, name):
        pk = "linux-modules-7*" if v == "7.2" else f"linux-image-{v}.*"
        return glob.glob(os.path.join(self.pkg(pk), "**", name + ".ko*"), recursive=True)[0]

    def initrd(self, kver):
        out = os.path.join(self.inp, "initrd.cpio")
        run([os.path.join(HERE, "mkinitrd.sh"), out, self.module(kver, "efivarfs")])
        self.recipe.append(f"initrd.cpio: tests/boot/mkinitrd.sh initrd.cpio <efivarfs.ko of the kernel {kver} package>"
                           f" (busybox-static {self.hostver('busybox-static')}), sha256 {sha256(out)}")
        return out

    def hostver(self, p):
        return subprocess.run(["dpkg-query", "-W", "-f", "${Version}", p], capture_output=True, text=True).stdout

    def firmware(self, suite, secure=False, vars_=None):
        pk = {"bookworm": "ovmf_2022*", "trixie": "ovmf_2025*", "sid": "ovmf-generic_*"}[suite]
        self.secure = secure
        code = "OVMF_CODE_4M.secboot.fd" if secure else "OVMF_CODE_4M.fd"
        self.ovmf = self.comp("firmware-code", pk, "usr/share/OVMF/" + code)
        self.vars = self.comp("firmware-vars", pk, "usr/share/OVMF/" + (vars_ or "OVMF_VARS_4M.fd"))

    # -- files ---------------------------------------------------------------
    def text(self, name, s):
        p = os.path.join(self.inp, name)
        with open(p, "wb") as f:
            f.write(s.encode() if isinstance(s, str) else s)
        return p

    def put(self, src, dst):
        p = os.path.join(self.esp, dst)
        os.makedirs(os.path.dirname(p), exist_ok=True)
        shutil.copyfile(src, p)

    def put_text(self, dst, s):
        p = os.path.join(self.esp, dst)
        os.makedirs(os.path.dirname(p), exist_ok=True)
        with open(p, "wb") as f:
            f.write(s.encode() if isinstance(s, str) else s)

    def tool(self, suite, argv, files, outputs):
        """Run a command in the tools chroot of a suite; files are copied in by base name."""
        c = os.path.join(self.work, "chroot", suite)
        bn = "box%d" % os.getpid()     # two cases.py may run side by side
        box = os.path.join(c, bn)
        shutil.rmtree(box, ignore_errors=True)
        os.makedirs(box)
        for f in files:
            shutil.copyfile(f, os.path.join(box, os.path.basename(f)))
        cmd = f"cd /{bn} && " + " ".join(shlex.quote(a) for a in argv)
        r = subprocess.run(["chroot", c, "sh", "-c", cmd], capture_output=True, text=True,
                           env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})
        if r.returncode:
            raise SystemExit(f"{argv}\n{r.stdout}\n{r.stderr}")
        for o in outputs:
            shutil.copyfile(os.path.join(box, o), os.path.join(self.inp, o))
        shutil.rmtree(box)
        self.recipe.append(f"[{suite}] " + " ".join(shlex.quote(a) for a in argv))
        return r.stdout

    def ukify(self, suite, out, files, *args, measure=True):
        """files: {option: path}; returns the output path."""
        argv = ["ukify", "build"]
        for k, p in files.items():
            argv.append(f"--{k.rstrip('+')}={'@' if k in AT else ''}{os.path.basename(p)}")
        argv += list(args) + [f"--output={out}"]
        if measure:
            argv.append("--measure")
        so = self.tool(suite, argv, set(files.values()), [out])
        if measure:
            self.evidence[f"systemd-measure-{out}.txt"] = so
        return os.path.join(self.inp, out)

    def sbsign(self, key, src, dst=None):
        dst = dst or src
        k = os.path.join(self.work, "keys", key)
        run(["sbsign", "--key", k + ".key", "--cert", k + ".crt", "--output", dst + ".tmp", src],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.rename(dst + ".tmp", dst)
        self.recipe.append(f"sbsign --key {key}.key --cert {key}.crt --output {os.path.basename(dst)} {os.path.basename(src)}")
        return dst

    def enroll(self, args, base=None):
        out = os.path.join(self.inp, "OVMF_VARS.enrolled.fd")
        argv = [os.path.join(self.work, "venv/bin/virt-fw-vars"), "--input", base or self.vars, "--output", out] + args
        run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.vars = out
        self.recipe.append("virt-fw-vars --input <OVMF_VARS_4M.fd> " + " ".join(os.path.basename(a) for a in args))

    def key(self, n):
        return os.path.join(self.work, "keys", n)


AT = {"os-release", "cmdline", "profile", "sbat"}
OSREL = 'ID=rig\nNAME="Measured boot rig"\nPRETTY_NAME="Measured boot rig {v}"\nVERSION_ID={v}\n'


def loader_conf(default):
    return f"# rig\ntimeout 0\ndefault {default}\nconsole-mode keep\n"


# ---------------------------------------------------------------------------
def uki252(c, initrd, extra_cmdline=""):
    """The recipe of the systemd 252 manual page: objcopy with fixed addresses."""
    stub, kern = c.stub("252"), c.kernel("6.1")
    osr = c.text("os-release", OSREL.format(v="252"))
    cmd = c.text("cmdline", CONSOLE + " rig=252" + extra_cmdline)
    una = c.text("uname", os.path.basename(kern).split("vmlinuz-")[1])
    out = os.path.join(c.inp, "rig-252.efi")
    argv = ["objcopy"]
    for sec, f, vma in ((".osrel", osr, 0x20000), (".cmdline", cmd, 0x30000), (".uname", una, 0x40000),
                        (".linux", kern, 0x2000000), (".initrd", initrd, 0x3000000)):
        argv += ["--add-section", f"{sec}={f}", "--change-section-vma", f"{sec}={vma:#x}"]
    run(argv + [stub, out])
    c.recipe.append(" ".join([re.sub(r"=/.*/", "=", a) for a in argv] + ["linuxx64.efi.stub", "rig-252.efi"])
                    + f"  (binutils {c.hostver('binutils')})")
    return out


def a_uki_direct_252(c):
    "UKI (stub 252, kernel 6.1) started by the firmware as /EFI/BOOT/BOOTX64.EFI, Secure Boot off"
    c.firmware("bookworm")
    c.put(uki252(c, c.initrd("6.1")), "EFI/BOOT/BOOTX64.EFI")


def b_sdboot_252(c):
    "systemd-boot 252 as BOOTX64.EFI, loader.conf, UKI (stub 252, kernel 6.1) in /EFI/Linux"
    c.firmware("bookworm")
    c.put(c.sdboot("252"), "EFI/BOOT/BOOTX64.EFI")
    c.put(uki252(c, c.initrd("6.1")), "EFI/Linux/rig-252.efi")
    c.put_text("loader/loader.conf", loader_conf("rig-252.efi"))


def modern_inputs(c, ver, kver):
    kern = c.kernel(kver)
    m = re.search(r"(?:vmlinuz-|modules/)([0-9][^/]*?)(?:/vmlinuz)?$", kern)
    return {"stub": c.stub(ver), "linux": kern, "initrd": c.initrd(kver),
            "cmdline": c.text("cmdline", f"{CONSOLE} rig={ver}"),
            "os-release": c.text("os-release", OSREL.format(v=ver))}, f"--uname={m.group(1)}"


def c_sdboot_257(c, fw="trixie", secure=False, vars_=None):
    "systemd-boot 257, loader.conf, UKI (ukify/stub 257, kernel 6.12) in /EFI/Linux"
    c.firmware(fw, secure, vars_)
    files, un = modern_inputs(c, "257", "6.12")
    u = c.ukify("trixie", "rig-257.efi", files, un)
    c.put(c.sdboot("257"), "EFI/BOOT/BOOTX64.EFI")
    c.put(u, "EFI/Linux/rig-257.efi")
    c.put_text("loader/loader.conf", loader_conf("rig-257.efi"))
    return files, un


def d_sdboot_262(c, fw="sid"):
    "systemd-boot 262, loader.conf, UKI (ukify/stub 262, kernel 7.2) in /EFI/Linux"
    c.firmware(fw)
    files, un = modern_inputs(c, "262", "7.2")
    u = c.ukify("sid", "rig-262.efi", files, un)
    c.put(c.sdboot("262"), "EFI/BOOT/BOOTX64.EFI")
    c.put(u, "EFI/Linux/rig-262.efi")
    c.put_text("loader/loader.conf", loader_conf("rig-262.efi"))


def c2_sdboot_257_fw_sid(c):
    "c on the firmware of sid (tells firmware differences from boot loader differences)"
    c_sdboot_257(c, fw="sid")


def d4_sdboot_262_fw_trixie(c):
    "d on the firmware of trixie"
    d_sdboot_262(c, fw="trixie")


def d2_uki_direct_262(c):
    "UKI (ukify/stub 262, kernel 7.2) started by the firmware, no boot loader"
    c.firmware("sid")
    files, un = modern_inputs(c, "262", "7.2")
    c.put(c.ukify("sid", "rig-262.efi", files, un), "EFI/BOOT/BOOTX64.EFI")


def d3_sdboot_254(c):
    "systemd-boot 254 (bookworm-backports), loader.conf, UKI (ukify 257 with stub 254, kernel 6.1)"
    c.firmware("bookworm")
    files, un = modern_inputs(c, "254", "6.1")
    u = c.ukify("trixie", "rig-254.efi", files, un)
    c.put(c.sdboot("254"), "EFI/BOOT/BOOTX64.EFI")
    c.put(u, "EFI/Linux/rig-254.efi")
    c.put_text("loader/loader.conf", loader_conf("rig-254.efi"))


def squash(c, name, kind):
    t = os.path.join(c.dir, "tree-" + name)
    base = "usr/lib" if kind == "sysext" else "etc"
    d = os.path.join(t, base, "extension-release.d")
    os.makedirs(d)
    with open(os.path.join(d, f"extension-release.{name}"), "w") as f:
        f.write("ID=_any\n")
    with open(os.path.join(t, base, f"{name}.txt"), "w") as f:
        f.write(f"{kind} {name}\n")
    out = os.path.join(c.inp, f"{name}.raw")
    run(["mksquashfs", t, out, "-quiet", "-noappend", "-all-root", "-all-time", "0", "-mkfs-time", "0"],
        stdout=subprocess.DEVNULL)
    shutil.rmtree(t)
    return out


def extras(c, ver, suite, uki_name, sign=None):
    """Global and per-UKI addons, credentials, a system and a configuration extension."""
    st = c.addon_stub(ver)
    d = f"EFI/Linux/{uki_name}.extra.d/"
    for name, txt, dst in (("global", "global_addon=1 order=g", "loader/addons/global.addon.efi"),
                           ("global2", "global_addon=2", "loader/addons/a-global2.addon.efi"),
                           ("local", "local_addon=1", d + "local.addon.efi"),
                           ("local0", "local_addon=0 spaced  out", d + "Alpha.addon.efi")):
        cm = c.text(f"{name}.cmdline", txt)
        a = c.ukify(suite, f"{name}.addon.efi", {"stub": st, "cmdline": cm}, measure=False)
        if sign:
            c.sbsign(sign, a)
        c.put(a, dst)
    c.put_text(d + "mycred.cred", "secret-credential-local\n")
    c.put_text(d + "another.cred", b"\x00\x01binary\xff")
    c.put_text("loader/credentials/global.cred", "secret-credential-global\n")
    c.put(squash(c, "mysysext", "sysext"), d + "mysysext.sysext.raw")
    c.put(squash(c, "plain", "sysext"), d + "plain.raw")
    c.put(squash(c, "myconfext", "confext"), d + "myconfext.confext.raw")


def e_addons_257(c):
    "c with global and per-UKI addons, credentials, sysext and confext images (no Secure Boot)"
    c_sdboot_257(c)
    extras(c, "257", "trixie", "rig-257.efi")


def e2_addons_262(c):
    "d with the same companions, systemd 262; plus an initrd addon and a ucode addon"
    d_sdboot_262(c)
    extras(c, "262", "sid", "rig-262.efi")
    st = c.addon_stub("262")
    t = c.text("addon-initrd.cpio", cpio({"etc/from-addon": b"addon initrd\n"}))
    c.put(c.ukify("sid", "initrd.addon.efi", {"stub": st, "initrd": t}, measure=False),
          "EFI/Linux/rig-262.efi.extra.d/initrd.addon.efi")
    u = c.text("addon-ucode.cpio", cpio({"kernel/x86/microcode/AuthenticAMD.bin": b"not a microcode" * 10}))
    c.put(c.ukify("sid", "ucode.addon.efi", {"stub": st, "microcode": u}, measure=False),
          "EFI/Linux/rig-262.efi.extra.d/ucode.addon.efi")


def e3_addons_254(c):
    "d3 with the same companions, systemd 254 (addons new in 254)"
    d3_sdboot_254(c)
    extras(c, "254", "trixie", "rig-254.efi")


def cpio(files):
    """A small newc archive, files only (parents included), deterministic."""
    out = b""
    ino = 1
    names = set()
    for p in sorted(files):
        parts = p.split("/")
        for i in range(1, len(parts)):
            names.add(("/".join(parts[:i]), None))
    allf = sorted(names | {(p, d) for p, d in files.items()}, key=lambda x: x[0]) + [("TRAILER!!!", b"")]
    for n, d in allf:
        mode = 0o40755 if d is None else 0o100644
        if n == "TRAILER!!!":
            mode = 0
        d = d or b""
        nm = n.encode() + b"\0"
        h = b"070701" + b"".join(b"%08X" % v for v in
                                 (ino, mode, 0, 0, 1, 0, len(d), 0, 0, 0, 0, len(nm), 0))
        x = h + nm
        x += b"\0" * (-len(x) % 4)
        x += d + b"\0" * (-len(d) % 4)
        out += x
        ino += 1
    return out + b"\0" * (-len(out) % 512)


def f_secureboot_257(c, sign_inner=True):
    "c with Secure Boot on: own PK, KEK, db; systemd-boot, UKI and inner kernel signed with db"
    c.firmware("trixie", secure=True)
    c.enroll(["--set-pk", OWNER, c.key("PK.crt"), "--add-kek", OWNER, c.key("KEK.crt"),
              "--add-db", OWNER, c.key("db.crt"), "--sb"])
    files, un = modern_inputs(c, "257", "6.12")
    k = os.path.join(c.inp, "vmlinuz")
    shutil.copyfile(files["linux"], k)
    c.sbsign("db", k)
    files["linux"] = k
    u = c.sbsign("db", c.ukify("trixie", "rig-257.efi", files, un))
    b = os.path.join(c.inp, "systemd-bootx64.efi")
    shutil.copyfile(c.sdboot("257"), b)
    c.put(c.sbsign("db", b), "EFI/BOOT/BOOTX64.EFI")
    c.put(u, "EFI/Linux/rig-257.efi")
    c.put_text("loader/loader.conf", loader_conf("rig-257.efi"))


def f2_secureboot_two_keys_257(c):
    "Secure Boot: systemd-boot signed with db, UKI with db2, inner kernel only Debian-signed (not in db); dbx with one hash; signed addons; companions"
    c.firmware("trixie", secure=True)
    c.enroll(["--set-pk", OWNER, c.key("PK.crt"), "--add-kek", OWNER, c.key("KEK.crt"),
              "--add-db", OWNER, c.key("db.crt"), "--add-db", OWNER, c.key("db2.crt"),
              "--add-dbx-hash", OWNER, "ab" * 32, "--sb"])
    files, un = modern_inputs(c, "257", "6.12")
    u = c.sbsign("db2", c.ukify("trixie", "rig-257.efi", files, un))
    b = os.path.join(c.inp, "systemd-bootx64.efi")
    shutil.copyfile(c.sdboot("257"), b)
    c.put(c.sbsign("db", b), "EFI/BOOT/BOOTX64.EFI")
    c.put(u, "EFI/Linux/rig-257.efi")
    c.put_text("loader/loader.conf", loader_conf("rig-257.efi"))
    extras(c, "257", "trixie", "rig-257.efi", sign="db2")


def f3_secureboot_262(c):
    "d with Secure Boot on (own keys), UKI and systemd-boot 262 signed with db, inner kernel not signed by us"
    c.firmware("sid", secure=True)
    c.enroll(["--set-pk", OWNER, c.key("PK.crt"), "--add-kek", OWNER, c.key("KEK.crt"),
              "--add-db", OWNER, c.key("db.crt"), "--sb"])
    files, un = modern_inputs(c, "262", "7.2")
    u = c.sbsign("db", c.ukify("sid", "rig-262.efi", files, un))
    b = os.path.join(c.inp, "systemd-bootx64.efi")
    shutil.copyfile(c.sdboot("262"), b)
    c.put(c.sbsign("db", b), "EFI/BOOT/BOOTX64.EFI")
    c.put(u, "EFI/Linux/rig-262.efi")
    c.put_text("loader/loader.conf", loader_conf("rig-262.efi"))


def f4_secureboot_off_secboot_build(c):
    "c on the Secure Boot capable firmware build with no keys enrolled (setup mode)"
    c_sdboot_257(c, secure=True)


def f5_secureboot_252(c):
    "b with Secure Boot on: own PK, KEK, db; systemd-boot 252, UKI and inner kernel signed with db"
    c.firmware("bookworm", secure=True)
    c.enroll(["--set-pk", OWNER, c.key("PK.crt"), "--add-kek", OWNER, c.key("KEK.crt"),
              "--add-db", OWNER, c.key("db.crt"), "--sb"])
    u = c.sbsign("db", uki252(c, c.initrd("6.1")))
    b = os.path.join(c.inp, "systemd-bootx64.efi")
    shutil.copyfile(c.sdboot("252"), b)
    c.put(c.sbsign("db", b), "EFI/BOOT/BOOTX64.EFI")
    c.put(u, "EFI/Linux/rig-252.efi")
    c.put_text("loader/loader.conf", loader_conf("rig-252.efi"))


def type1(c, ver, fw, kver):
    c.firmware(fw)
    c.put(c.sdboot(ver), "EFI/BOOT/BOOTX64.EFI")
    ird = c.initrd(kver)
    second = c.text("second.cpio", cpio({"etc/second": b"second initrd\n"}))
    c.put(c.kernel(kver), "rig/vmlinuz")
    c.put(ird, "rig/initrd.cpio")
    c.put(second, "rig/second.cpio")
    c.put_text("loader/entries/rig.conf",
               f"title Rig type 1\nversion 1\nlinux /rig/vmlinuz\ninitrd /rig/initrd.cpio\ninitrd /rig/second.cpio\n"
               f"options {CONSOLE}\noptions rig={ver} type1\n")
    c.put_text("loader/loader.conf", loader_conf("rig.conf"))


def g_type1_257(c):
    "systemd-boot 257, type #1 entry: linux, two initrds, options on two lines (kernel 6.12)"
    type1(c, "257", "trixie", "6.12")


def g2_type1_252(c):
    "systemd-boot 252, type #1 entry, kernel 6.1"
    type1(c, "252", "bookworm", "6.1")


def g3_type1_262(c):
    "systemd-boot 262, type #1 entry, kernel 7.2"
    type1(c, "262", "sid", "7.2")


def multiprofile(c, ver, suite, fw, kver, default):
    c.firmware(fw)
    files, un = modern_inputs(c, ver, kver)
    profs = []
    for i, (pid, title, cmd) in enumerate((("main", "Main", None), ("factory", "Factory reset", "rig_profile=factory"),
                                           ("debug", "Debug", "rig_profile=debug"))):
        pf = c.text(f"profile{i}", f"ID={pid}\nTITLE={title}\n")
        if cmd is None:
            main = pf
            continue
        f = {"stub": c.addon_stub(ver), "profile": pf, "cmdline": c.text(f"cmdline{i}", f"{CONSOLE} {cmd}")}
        out = f"profile-{pid}.efi"
        profs.append(c.ukify(suite, out, f, measure=False))
    f = dict(files)
    f["profile"] = main
    argv_files = dict(f)
    # --join-profile may be repeated: pass as plain arguments, copy the files in
    argv = ["ukify", "build"]
    for k, p in f.items():
        argv.append(f"--{k}={'@' if k in AT else ''}{os.path.basename(p)}")
    argv += [un] + [f"--join-profile={os.path.basename(p)}" for p in profs]
    argv += [f"--output=rig-{ver}.efi", "--measure"]
    so = c.tool(suite, argv, set(argv_files.values()) | set(profs), [f"rig-{ver}.efi"])
    c.evidence["systemd-measure.txt"] = so
    c.put(c.sdboot(ver), "EFI/BOOT/BOOTX64.EFI")
    c.put(os.path.join(c.inp, f"rig-{ver}.efi"), f"EFI/Linux/rig-{ver}.efi")
    c.put_text("loader/loader.conf", loader_conf(default))


def h_profile1_257(c):
    "multi-profile UKI (257): profile @1 (ID=factory) chosen by loader.conf: default rig-257.efi@factory"
    multiprofile(c, "257", "trixie", "trixie", "6.12", "rig-257.efi@factory")


def h0_profile0_257(c):
    "the same multi-profile UKI (257), profile @0"
    multiprofile(c, "257", "trixie", "trixie", "6.12", "rig-257.efi")


def h2_profile2_262(c):
    "multi-profile UKI (262): profile @2 (ID=debug) chosen by loader.conf: default rig-262.efi@debug"
    multiprofile(c, "262", "sid", "sid", "7.2", "rig-262.efi@debug")


def bmp():
    w = h = 2
    px = b"\x10\x20\x30\x00" * (w * h)
    return struct.pack("<2sIHHI", b"BM", 54 + len(px), 0, 0, 54) + \
        struct.pack("<IiiHHIIiiII", 40, w, h, 1, 32, 0, len(px), 2835, 2835, 0, 0) + px


def full_uki(c, ver, suite, fw, kver):
    c.firmware(fw)
    files, un = modern_inputs(c, ver, kver)
    files["microcode"] = c.text("ucode.cpio", cpio({"kernel/x86/microcode/AuthenticAMD.bin": b"not a microcode" * 10}))
    files["splash"] = c.text("splash.bmp", bmp())
    files["pcr-private-key"] = c.key("pcr.key")
    files["pcr-public-key"] = c.key("pcr.pub")
    shutil.copyfile(c.key("pcr.pub"), os.path.join(c.inp, "pcr.pub"))
    out = c.ukify(suite, f"rig-{ver}.efi", files, un,
                  "--sbat=sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\nuki.rig,1,Rig UKI,rig,1,https://example.invalid/\n",
                  "--pcr-banks=sha1,sha256,sha384,sha512")
    c.put(c.sdboot(ver), "EFI/BOOT/BOOTX64.EFI")
    c.put(out, f"EFI/Linux/rig-{ver}.efi")
    c.put_text("loader/loader.conf", loader_conf(f"rig-{ver}.efi"))


def i_pcrsig_ucode_257(c):
    "UKI (257) with .ucode, .splash, own .sbat, .pcrpkey and .pcrsig"
    full_uki(c, "257", "trixie", "trixie", "6.12")


def i2_pcrsig_ucode_262(c):
    "UKI (262) with .ucode, .splash, own .sbat, .pcrpkey and .pcrsig"
    full_uki(c, "262", "sid", "sid", "7.2")


def shim_grub(c, shim, grub, fw, kver):
    c.firmware(fw, secure=True, vars_="OVMF_VARS_4M.ms.fd")
    c.put(c.comp("shim", shim, "usr/lib/shim/shimx64.efi.signed"), "EFI/BOOT/BOOTX64.EFI")
    c.put(c.comp("boot-loader", grub, "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"), "EFI/BOOT/grubx64.efi")
    c.put(c.kernel(kver), "rig/vmlinuz")
    c.put(c.initrd(kver), "rig/initrd.cpio")
    c.put_text("EFI/debian/grub.cfg",
               "set timeout=0\nset default=0\nmenuentry 'Rig' {\n"
               f"\tlinux /rig/vmlinuz {CONSOLE} rig=grub\n\tinitrd /rig/initrd.cpio\n}}\n")


def j_shim_grub_bookworm(c):
    "Debian 12 shim -> signed GRUB 2.06 -> signed kernel 6.1, Secure Boot with the Microsoft keys of OVMF_VARS_4M.ms.fd"
    shim_grub(c, "shim-signed_*deb12*", "grub-efi-amd64-signed_1+2.06*", "bookworm", "6.1")


def j2_shim_grub_trixie(c):
    "Debian 13 shim -> signed GRUB 2.12 -> signed kernel 6.12, Secure Boot with the Microsoft keys of OVMF_VARS_4M.ms.fd"
    shim_grub(c, "shim-signed_*deb13*", "grub-efi-amd64-signed_1+2.12*", "trixie", "6.12")


def shim_sdboot_257(c):
    "Debian 13 shim -> Debian-signed systemd-boot 257 (as grubx64.efi) -> UKI 257 signed with a MOK key, Microsoft keys"
    c.firmware("trixie", secure=True, vars_="OVMF_VARS_4M.ms.fd")
    c.enroll(["--add-mok", OWNER, c.key("db2.crt")])
    files, un = modern_inputs(c, "257", "6.12")
    u = c.sbsign("db2", c.ukify("trixie", "rig-257.efi", files, un))
    c.put(c.comp("shim", "shim-signed_*deb13*", "usr/lib/shim/shimx64.efi.signed"), "EFI/BOOT/BOOTX64.EFI")
    c.put(c.comp("boot-loader", "systemd-boot-efi-amd64-signed_*257*", "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed"),
          "EFI/BOOT/grubx64.efi")
    c.put(u, "EFI/Linux/rig-257.efi")
    c.put_text("loader/loader.conf", loader_conf("rig-257.efi"))


def tiny_inputs(c, ver):
    """Kernel and initrd of tests/boot/tiny: the UKI can be put together from the repository."""
    t = os.path.join(HERE, "tiny")
    c.parts = ("tests/boot/tiny/vmlinuz", os.path.join(t, "vmlinuz"))
    c.components["kernel"] = {"package": "linux-source-6.12 + tests/boot/tiny", "version": "6.12.117-1",
                              "file": "vmlinuz", "size": os.path.getsize(t + "/vmlinuz"), "sha256": sha256(t + "/vmlinuz")}
    c.recipe.append("tests/boot/tiny/build.sh: vmlinuz, initrd.cpio")
    return {"stub": c.stub(ver), "linux": t + "/vmlinuz", "initrd": t + "/initrd.cpio",
            "cmdline": c.text("cmdline", f"console=ttyS0 quiet rig={ver} tiny"),
            "os-release": c.text("os-release", OSREL.format(v=ver))}


def t_tiny_257(c):
    "UKI 257 of the tiny kernel, started by the firmware; complete (see parts in case.json)"
    c.firmware("trixie")
    c.put(c.ukify("trixie", "rig-257.efi", tiny_inputs(c, "257"), "--uname=6.12-rig-tiny"), "EFI/BOOT/BOOTX64.EFI")


def t2_tiny_257_companions(c):
    "UKI 257 of the tiny kernel, started by the firmware, with add-ons, credentials, sysext, confext, .ucode; complete"
    c.firmware("trixie")
    f = tiny_inputs(c, "257")
    f["microcode"] = c.text("ucode.cpio", cpio({"kernel/x86/microcode/AuthenticAMD.bin": b"not a microcode" * 10}))
    c.put(c.ukify("trixie", "rig-257.efi", f, "--uname=6.12-rig-tiny"), "EFI/BOOT/BOOTX64.EFI")
    extras(c, "257", "trixie", "rig-257.efi")
    os.makedirs(os.path.join(c.esp, "EFI/BOOT"), exist_ok=True)
    os.rename(os.path.join(c.esp, "EFI/Linux/rig-257.efi.extra.d"), os.path.join(c.esp, "EFI/BOOT/BOOTX64.EFI.extra.d"))


def t3_tiny_262(c):
    "UKI 262 of the tiny kernel, started by the firmware; complete"
    c.firmware("sid")
    c.put(c.ukify("sid", "rig-262.efi", tiny_inputs(c, "262"), "--uname=6.12-rig-tiny"), "EFI/BOOT/BOOTX64.EFI")


def t4_tiny_252(c):
    "UKI 252 of the tiny kernel, started by the firmware; complete"
    c.firmware("bookworm")
    f = tiny_inputs(c, "252")
    c.put(c.ukify("trixie", "rig-252.efi", f, measure=False), "EFI/BOOT/BOOTX64.EFI")


def t5_tiny_257_secureboot(c):
    "UKI 257 of the tiny kernel, signed, Secure Boot on with own keys, started by the firmware; complete"
    c.firmware("trixie", secure=True)
    c.enroll(["--set-pk", OWNER, c.key("PK.crt"), "--add-kek", OWNER, c.key("KEK.crt"),
              "--add-db", OWNER, c.key("db.crt"), "--sb"])
    u = c.ukify("trixie", "rig-257.efi", tiny_inputs(c, "257"), "--uname=6.12-rig-tiny")
    c.put(c.sbsign("db", u), "EFI/BOOT/BOOTX64.EFI")


def mkosi(c, suite, fw, more=()):
    c.firmware(fw)
    ch = os.path.join(c.work, "chroot", suite)
    mk = os.path.join(ch, "mk")
    shutil.rmtree(mk, ignore_errors=True)
    shutil.copytree(os.path.join(HERE, "mkosi"), mk, symlinks=True)
    sources = os.path.join(mk, f"sandbox-{suite}/etc/apt/sources.list.d/mkosi.sources")
    with open(os.path.join(ch, "etc/apt/sources.list")) as f:
        mirror = f.read().split()[1]          # as mkchroot.sh wrote it
    text = open(sources).read().replace("@MIRROR@", mirror)
    open(sources, "w").write(text)
    argv = ["mkosi", f"--release={suite}", f"--sandbox-tree=sandbox-{suite}",
            "--unified-kernel-images=" + {"trixie": "yes", "sid": "unsigned"}[suite], *more, "--force", "build"]
    with open(os.path.join(c.dir, "mkosi.log"), "w") as f:
        run([os.path.join(HERE, "incontainer.sh"), ch, "sh", "-c", "cd /mk && " + " ".join(argv)],
            stdout=f, stderr=subprocess.STDOUT)
    c.recipe.append(f"[{suite}] tests/boot/mkosi: " + " ".join(argv))
    disk = os.path.join(c.dir, "disk.img")
    run(["cp", "--sparse=always", os.path.join(mk, "rig_1.raw"), disk])
    # the ESP is partition 1 at 1 MiB
    off = struct.unpack_from("<Q", open(disk, "rb").read(2048)[1024:], 32)[0] * 512
    run(["mcopy", "-s", "-Q", "-n", "-i", f"{disk}@@{off}", "::/*", c.esp], env=dict(os.environ, MTOOLS_SKIP_CHECK="1"))
    v = run(["chroot", ch, "dpkg-query", "-W", "mkosi", "systemd-ukify", "systemd-repart"], capture_output=True, text=True).stdout
    c.notes.append("tools: " + ", ".join(v.split("\n")[:3]).replace("\t", " "))
    c.evidence["rig_1.manifest"] = open(os.path.join(mk, "rig_1.manifest")).read()
    c.ready_disk = True
    c.boot_args = ["--timeout", "900"]


def k_mkosi_trixie(c):
    "mkosi image: Debian 13, systemd-boot and UKI 257, dm-verity erofs root; captured in user space after systemd-pcrphase (ready)"
    mkosi(c, "trixie", "trixie")


def k2_mkosi_sid(c):
    "mkosi image: Debian sid, systemd-boot and UKI 262, dm-verity erofs root; systemd-tpm in the initrd but not in the root; captured in user space"
    mkosi(c, "sid", "sid")


def k3_mkosi_sid_tpm(c):
    "k2 with the package systemd-tpm in the root file system too"
    mkosi(c, "sid", "sid", ["--package=systemd-tpm"])


SMBIOS = ["type=1,manufacturer=Rig,product=Measured boot,serial=rig-0001,uuid=00112233-4455-6677-8899-aabbccddeeff",
          "type=2,manufacturer=Rig board,product=board-1",
          "type=11,value=io.systemd.stub.kernel-cmdline-extra=smbios_stub=1,value=io.systemd.boot.kernel-cmdline-extra=smbios_boot=1"]


def smbios(c):
    for v in SMBIOS:
        c.boot_args += ["--extra=-smbios", "--extra=" + v]
    c.notes.append("QEMU: " + " ".join("-smbios '%s'" % v for v in SMBIOS))


def m_smbios_257(c):
    "c with SMBIOS type 1, 2 and 11 given to QEMU; type 11 carries extra command lines for the stub and the boot loader"
    c_sdboot_257(c)
    smbios(c)


def m2_smbios_262(c):
    "d with SMBIOS type 1, 2 and 11 given to QEMU; type 11 carries extra command lines for the stub and the boot loader"
    d_sdboot_262(c)
    smbios(c)


def m3_smbios_type1_262(c):
    "g3 (type #1 entry) with the same SMBIOS strings"
    g3_type1_262(c)
    smbios(c)


CASES = {"m-smbios-257": m_smbios_257, "m2-smbios-262": m2_smbios_262, "m3-smbios-type1-262": m3_smbios_type1_262,
         "t-tiny-257": t_tiny_257, "t2-tiny-257-companions": t2_tiny_257_companions, "t3-tiny-262": t3_tiny_262,
         "t4-tiny-252": t4_tiny_252, "t5-tiny-257-secureboot": t5_tiny_257_secureboot,
         "c2-sdboot-257-fw-sid": c2_sdboot_257_fw_sid, "d4-sdboot-262-fw-trixie": d4_sdboot_262_fw_trixie,
         "k-mkosi-trixie": k_mkosi_trixie, "k2-mkosi-sid": k2_mkosi_sid, "k3-mkosi-sid-tpm": k3_mkosi_sid_tpm, "l-shim-sdboot-257": shim_sdboot_257,
         "a-uki-direct-252": a_uki_direct_252, "b-sdboot-252": b_sdboot_252, "c-sdboot-257": c_sdboot_257,
         "d-sdboot-262": d_sdboot_262, "d2-uki-direct-262": d2_uki_direct_262, "d3-sdboot-254": d3_sdboot_254,
         "e-addons-257": e_addons_257, "e2-addons-262": e2_addons_262, "e3-addons-254": e3_addons_254,
         "f-secureboot-257": f_secureboot_257, "f2-secureboot-two-keys-257": f2_secureboot_two_keys_257,
         "f3-secureboot-262": f3_secureboot_262, "f4-setup-mode-257": f4_secureboot_off_secboot_build,
         "f5-secureboot-252": f5_secureboot_252,
         "g-type1-257": g_type1_257, "g2-type1-252": g2_type1_252, "g3-type1-262": g3_type1_262,
         "h-profile1-257": h_profile1_257, "h0-profile0-257": h0_profile0_257, "h2-profile2-262": h2_profile2_262,
         "i-pcrsig-ucode-257": i_pcrsig_ucode_257, "i2-pcrsig-ucode-262": i2_pcrsig_ucode_262,
         "j-shim-grub-bookworm": j_shim_grub_bookworm, "j2-shim-grub-trixie": j2_shim_grub_trixie}


# ---------------------------------------------------------------------------
def pe_sections(path):
    d = open(path, "rb").read()
    if d[:2] != b"MZ":
        return None
    pe = struct.unpack_from("<I", d, 0x3C)[0]
    if d[pe:pe + 4] != b"PE\0\0":
        return None
    n, = struct.unpack_from("<H", d, pe + 6)
    opt, = struct.unpack_from("<H", d, pe + 20)
    out = []
    for i in range(n):
        o = pe + 24 + opt + 40 * i
        name = d[o:o + 8].rstrip(b"\0").decode("ascii", "replace")
        vs, va, rs, ro = struct.unpack_from("<IIII", d, o + 8)
        used = d[ro:ro + min(vs, rs)]
        out.append({"name": name, "virtual_size": vs, "virtual_address": va, "raw_size": rs, "raw_offset": ro,
                    "sha256_of_contents": hashlib.sha256(used).hexdigest(), "_data": used})
    return out


def publish(c, out, runs):
    dst = os.path.join(out, c.name)
    shutil.rmtree(dst, ignore_errors=True)
    os.makedirs(os.path.join(dst, "inputs"))
    src = runs[0]
    for f in ("eventlog.bin", "pcrs.json", "boot.json"):
        shutil.copyfile(os.path.join(src, f), os.path.join(dst, f))
    shutil.copytree(os.path.join(src, "guest"), os.path.join(dst, "guest"))
    evs = evlog.parse(open(os.path.join(src, "eventlog.bin"), "rb").read())
    with open(os.path.join(dst, "events.txt"), "w") as f:
        for e in evs:
            f.write("%3d PCR%-2d %-34s %s  %s\n" % (e.n, e.pcr, e.name, e.digests.get("sha256", "")[:16],
                                                 evlog.describe(e, 300)))
    # what is on the ESP
    esp = []
    for root, dirs, files in os.walk(c.esp):
        dirs.sort()
        for fn in sorted(files):
            p = os.path.join(root, fn)
            rel = os.path.relpath(p, c.esp)
            ent = {"path": rel, "size": os.path.getsize(p), "sha256": sha256(p), "stored": False}
            secs = pe_sections(p)
            if secs and any(s["name"] in (".linux", ".cmdline", ".osrel") for s in secs):
                ent["sections"] = [{k: v for k, v in s.items() if k != "_data"} for s in secs]
                if ent["size"] > c.keep:
                    for i, s in enumerate(secs):
                        if s["name"] in (".linux", ".initrd", ".text", ".data", ".rodata", ".reloc") or len(s["_data"]) > 65536:
                            continue
                        q = os.path.join(dst, "inputs", "sections", rel.replace("/", "_"), "%02d%s" % (i, s["name"]))
                        os.makedirs(os.path.dirname(q), exist_ok=True)
                        open(q, "wb").write(s["_data"])
            if ent["size"] <= c.keep:
                q = os.path.join(dst, "inputs", "esp", rel)
                os.makedirs(os.path.dirname(q), exist_ok=True)
                shutil.copyfile(p, q)
                ent["stored"] = True
            elif c.parts:
                # Store what lies around a known file: part0 + that file + part1 = the ESP file, byte for byte.
                data, known = open(p, "rb").read(), open(c.parts[1], "rb").read()
                at = data.index(known)
                ent["stored"] = "parts"
                ent["parts"] = [rel + ".part0", {"file": c.parts[0], "sha256": sha256(c.parts[1])}, rel + ".part1"]
                for q, b in ((rel + ".part0", data[:at]), (rel + ".part1", data[at + len(known):])):
                    q = os.path.join(dst, "inputs", "esp", q)
                    os.makedirs(os.path.dirname(q), exist_ok=True)
                    open(q, "wb").write(b)
            esp.append(ent)
    with open(os.path.join(c.dir, "disk.img"), "rb") as f:
        open(os.path.join(dst, "inputs", "gpt-lba0-33.bin"), "wb").write(f.read(34 * 512))
    for n, s in c.evidence.items():
        open(os.path.join(dst, "inputs", n), "w").write(s)
    if c.vars.endswith("enrolled.fd"):
        for n in ("PK", "KEK", "db", "db2"):
            for ext in (".crt", ".esl"):
                if os.path.exists(c.key(n + ext)) and (n != "db2" or "two-keys" in c.name):
                    shutil.copyfile(c.key(n + ext), os.path.join(dst, "inputs", n + ext))
    # exactness checks
    live = json.load(open(os.path.join(src, "pcrs.json")))
    ul = os.path.join(src, "guest", "tpm2-measure.log")
    user = evlog.userspace(ul) if os.path.exists(ul) else []
    calc = evlog.replay(evs, user)
    mism = {b: [i for i in range(16) if live[b][str(i)] != calc[b][str(i)]] for b in live}
    same = []
    for r in runs[1:]:
        o = evlog.parse(open(os.path.join(r, "eventlog.bin"), "rb").read())
        if len(o) != len(evs):
            same.append({"events": "different number"})
            continue
        diff = [e.n for e, g in zip(evs, o) if (e.pcr, e.type, e.digests, e.data) != (g.pcr, g.type, g.digests, g.data)]
        same.append({"differing_events": diff, "differing_pcrs": sorted({evs[n].pcr for n in diff}),
                     "differing_digests_in_pcrs": sorted({evs[n].pcr for n in diff if evs[n].digests != o[n].digests})})
    with open(os.path.join(dst, "case.json"), "w") as f:
        json.dump({"case": c.name, "what": c.doc, "components": c.components, "recipe": c.recipe,
                   "esp": esp, "secure_boot_firmware": c.secure,
                   "firmware_vars_sha256": sha256(c.vars),
                   "qemu": {"machine": "q35", "cpu": "max", "smp": 2, "mem_mib": 1024, "tpm": "tpm-crb"},
                   "replay_mismatch_pcrs": mism,
                   "second_boot_vs_first": same, "notes": c.notes}, f, indent=1)
        f.write("\n")
    tot = sum(os.path.getsize(os.path.join(r, x)) for r, _, fs in os.walk(dst) for x in fs)
    print(f"{c.name}: {len(evs)} events, replay mismatch {mism}, repeat {same}, {tot // 1024} KiB stored")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--work")
    ap.add_argument("--out")
    ap.add_argument("--runs", type=int, default=2)
    ap.add_argument("--build-only", action="store_true")
    ap.add_argument("--list", action="store_true")
    ap.add_argument("cases", nargs="*")
    a = ap.parse_args()
    if a.list:
        for n, f in CASES.items():
            print(f"{n}: {f.__doc__}")
        return
    rc = 0
    for n in a.cases:
        c = Case(os.path.abspath(a.work), n, CASES[n].__doc__)
        CASES[n](c)
        disk = os.path.join(c.dir, "disk.img")
        if not c.ready_disk:
            run([os.path.join(HERE, "mkdisk.py"), c.esp, disk, "--size-mib", str(c.disk_size)])
        if a.build_only:
            continue
        runs = []
        procs = []
        for i in range(a.runs):
            o = os.path.join(c.dir, f"run{i + 1}")
            runs.append(o)
            procs.append(subprocess.Popen([os.path.join(HERE, "boot.py"), "--disk", disk, "--code", c.ovmf, "--vars", c.vars,
                         "--out", o] + (["--secure"] if c.secure else []) + c.boot_args))
        if any([p.wait() for p in procs]):
            print(f"{n}: boot failed, see {c.dir}")
            rc = 1
            continue
        publish(c, os.path.abspath(a.out), runs)
    return rc


if __name__ == "__main__":
    sys.exit(main())
