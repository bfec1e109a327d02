"""The cases. Each builds the boot partition of one boot; what they have in common is in build.py.

The names of components are those of parts.py; which version of a package stands behind one is what the archive has.
"""
import json, os, shutil, struct, sys, uuid, zlib

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import mkdisk
from build import (CONSOLE, OSREL, OWNER, SBAT, SHIM_LOCK, bitmap, chid, cpio, devicetree, hwids, microcode, read, squash)

CASES = {}
LINUX_TYPE = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


def case(name, what, chroot=None, flip=None, more=False):
    """A case. chroot: suite whose tools it needs; flip: bytes to change after the prediction, and what must see it."""
    def add(build):
        build.build, build.what, build.chroot, build.flip, build.more = build, what, chroot, flip, more
        CASES[name] = build
        return build
    return add


# --- who starts whom: each stub, loader and firmware with others than its own ---------------------------------------

def direct(c, suite, part, kernel=None):
    c.firmware(suite)
    c.uki(part, "EFI/BOOT/BOOTX64.EFI", c.sections(part, kernel, "matrix=direct"))


def by_loader(c, suite, loader, part, kernel=None):
    c.firmware(suite)
    c.loader(loader)
    c.uki(part, "EFI/Linux/matrix.efi", c.sections(part, kernel, "matrix=loader"))


@case("direct-252", "UKI of an older 252 with kernel 6.1, firmware of trixie, no loader")
def _(c):
    direct(c, "trixie", "systemd-252-security", "kernel-6.1")


@case("direct-254", "UKI 254, firmware of sid, no loader")
def _(c):
    direct(c, "sid", "systemd-254")


@case("direct-257-newest-kernel", "UKI 257 with the newest backported kernel, firmware of bookworm")
def _(c):
    direct(c, "bookworm", "systemd-257", "kernel-backports")


@case("direct-testing", "UKI of testing's systemd with sid's kernel, firmware of trixie", more=True)
def _(c):
    direct(c, "trixie", "systemd-testing", "kernel-sid")


@case("loader-252-stub-252", "systemd-boot 252 and UKI 252, firmware of sid; no loader.conf")
def _(c):
    by_loader(c, "sid", "systemd-252", "systemd-252")


@case("loader-254-stub-257", "systemd-boot 254 passes the command line to a stub 257, firmware of trixie")
def _(c):
    by_loader(c, "trixie", "systemd-254", "systemd-257")


@case("loader-257-stub-252", "systemd-boot 257 and a UKI 252 with kernel 6.12 of bookworm-backports, firmware of bookworm")
def _(c):
    by_loader(c, "bookworm", "systemd-257", "systemd-252", "kernel-6.12-bookworm")
    c.conf("default matrix*", "editor no")


@case("loader-sid-stub-254", "sid's systemd-boot and a UKI 254, firmware of sid", more=True)
def _(c):
    by_loader(c, "sid", "systemd-sid", "systemd-254")
    c.conf("default matrix.efi")


@case("loader-252-stub-sid", "systemd-boot 252 passes the command line to sid's stub, firmware of bookworm")
def _(c):
    by_loader(c, "bookworm", "systemd-252", "systemd-sid")


@case("loader-sid-newest-kernel", "sid's systemd-boot and stub with the newest backported kernel, firmware of sid")
def _(c):
    by_loader(c, "sid", "systemd-sid", "systemd-sid", "kernel-backports")
    c.conf("default *")


@case("loader-testing-stub-257", "testing's systemd-boot and a UKI 257, firmware of bookworm", more=True)
def _(c):
    by_loader(c, "bookworm", "systemd-testing", "systemd-257")


# --- Type #1 ---------------------------------------------------------------------------------------------------------

def type1(c, suite, loader, lines, kernel=None):
    c.firmware(suite)
    c.loader(loader)
    linux, initrd = c.tiny()
    c.put(c.parts.kernel(kernel) if kernel else linux, "os/vmlinuz")
    c.put(initrd, "os/initrd.cpio")
    # Lengths that are no multiple of 4: what stands between them is the loader's affair.
    c.put(cpio({"etc/second": b"second\n"}) + bytes(3), "os/second.cpio")
    c.put(cpio({"etc/third": b"third\n"})[:-1], "os/third.cpio")
    c.text("loader/entries/matrix.conf", f"title Matrix\nlinux /os/vmlinuz\n{lines}options {CONSOLE} matrix=type1\n")


# The kernel complains of what is badly aligned, after it has unpacked the first.
THREE = "initrd /os/initrd.cpio\ninitrd /os/second.cpio\ninitrd /os/third.cpio\n"


@case("type1-252", "Type #1, systemd-boot 252, kernel 6.12, three initrds of odd lengths, firmware of trixie")
def _(c):
    type1(c, "trixie", "systemd-252", THREE, "kernel-6.12")


@case("type1-254", "Type #1, systemd-boot 254, an empty initrd among others, firmware of bookworm")
def _(c):
    type1(c, "bookworm", "systemd-254", THREE + "initrd /os/empty\n")
    c.put(b"", "os/empty")


@case("type1-257-devicetree", "Type #1 with a devicetree, systemd-boot 257, three initrds, options in three lines, firmware of sid")
def _(c):
    type1(c, "sid", "systemd-257", "devicetree /os/board.dtb\n" + THREE + "options first  two\noptions   second\n")
    c.put(devicetree("matrix,board"), "os/board.dtb")
    c.conf("default matrix.conf", "console-mode keep")


@case("type1-sid-newest-kernel", "Type #1, sid's systemd-boot, newest backported kernel, three initrds, firmware of trixie")
def _(c):
    type1(c, "trixie", "systemd-sid", THREE, "kernel-backports")
    c.conf("default matrix.conf")


@case("type1-counted", "Type #1 entry with a boot counter, systemd-boot 257: a worn out one sorts last")
def _(c):
    type1(c, "trixie", "systemd-257", "initrd /os/initrd.cpio\nversion 1\nsort-key m\n")
    text = read(c.esp + "/loader/entries/matrix.conf").decode()
    c.text("loader/entries/newer+0-3.conf", text.replace("version 1", "version 9").replace("type1", "worn-out"))
    c.text("loader/entries/middle+2-1.conf", text.replace("version 1", "version 5").replace("type1", "counted"))


@case("type1-efi-uki-257", "Type #1 entry with efi and options that starts a UKI 257 outside EFI/Linux")
def _(c):
    c.firmware("bookworm")
    c.loader("systemd-257")
    c.uki("systemd-257", "os/matrix.efi", c.sections("systemd-257", None, "matrix=embedded"))
    c.text("loader/entries/matrix.conf", f"title Matrix\nefi /os/matrix.efi\noptions {CONSOLE}  matrix=entry\n")


@case("type1-uki-profile-sid", "Type #1 entry with uki, profile and options, sid's systemd-boot and stub", more=True)
def _(c):
    c.firmware("bookworm")
    c.loader("systemd-sid")
    profiles(c, "systemd-sid", "os/matrix.efi")
    c.text("loader/entries/matrix.conf", f"title Matrix\nuki /os/matrix.efi\nprofile 1\noptions {CONSOLE} matrix=entry\n")


# --- texts and lines of entries, as versions read them ---------------------------------------------------------------------

def entry(c, suite, loader, lines, key="linux"):
    """The tiny kernel by an entry of raw bytes; its initrd is named in the options, which the kernel's own stub reads."""
    c.firmware(suite)
    c.oracles = ["none"]  # bootctl stops at bytes that are no UTF-8
    c.loader(loader)
    linux, initrd = c.tiny()
    c.put(linux, "os/vmlinuz")
    c.put(initrd, "os/initrd.cpio")
    c.put(cpio({"etc/second": b"second\n"}), "os/second.cpio")
    c.put(b"", "os/empty")
    c.put(b"title Matrix\n" + key.encode() + b" /os/vmlinuz\n" + lines, "loader/entries/matrix.conf")


TEXTS = b"initrd /os/initrd.cpio\noptions 'single quotes'\noptions \"\"\noptions a\xffb \xe2\x82z \xc3\xa4 \xf0\x9f\x98\x80.\n"
EMPTY = b"initrd /os/empty\ninitrd /os/initrd.cpio\noptions " + CONSOLE.encode() + b" matrix=empty\n"
BY_EFI = b"initrd /os/second.cpio\noptions initrd=\\os\\initrd.cpio " + CONSOLE.encode() + b" matrix=efi\n"


@case("entry-texts-252", "quotes, empty values and bytes that are no UTF-8 in options, systemd-boot 252", more=True)
def _(c):
    entry(c, "trixie", "systemd-252", TEXTS)


@case("entry-texts-254", "quotes, empty values and bytes that are no UTF-8 in options, systemd-boot 254", more=True)
def _(c):
    entry(c, "trixie", "systemd-254", TEXTS)


@case("entry-texts-257", "quotes, empty values and bytes that are no UTF-8 in options, systemd-boot 257")
def _(c):
    entry(c, "trixie", "systemd-257", TEXTS)


@case("entry-texts-sid", "quotes, empty values and bytes that are no UTF-8 in options, sid's systemd-boot", more=True)
def _(c):
    entry(c, "trixie", "systemd-sid", TEXTS)


@case("entry-empty-initrd-257", "an empty initrd before the other, systemd-boot 257", more=True)
def _(c):
    entry(c, "trixie", "systemd-257", EMPTY)


@case("entry-empty-initrd-sid", "an empty initrd before the other, sid's systemd-boot", more=True)
def _(c):
    entry(c, "trixie", "systemd-sid", EMPTY)


@case("entry-efi-252", "a kernel as efi with an initrd line, systemd-boot 252", more=True)
def _(c):
    entry(c, "trixie", "systemd-252", BY_EFI, "efi")


@case("entry-efi-257", "a kernel as efi with an initrd line and a command line from SMBIOS, systemd-boot 257")
def _(c):
    entry(c, "trixie", "systemd-257", BY_EFI, "efi")
    smbios(c, BOOT_WORDS)


@case("entry-efi-sid", "a kernel as efi with an initrd line and a command line from SMBIOS, sid's systemd-boot", more=True)
def _(c):
    entry(c, "trixie", "systemd-sid", BY_EFI, "efi")
    smbios(c, BOOT_WORDS)


@case("entry-linux-uki-257", "a UKI 257 as linux and a command line from SMBIOS, systemd-boot 257", more=True)
def _(c):
    c.firmware("trixie")
    c.loader("systemd-257")
    c.uki("systemd-257", "os/matrix.efi", c.sections("systemd-257", None, "matrix=embedded"))
    c.text("loader/entries/matrix.conf", f"title Matrix\nlinux /os/matrix.efi\noptions {CONSOLE} matrix=entry\n")
    smbios(c, BOOT_WORDS)


@case("entry-uki-initrd-sid", "a UKI as uki with an initrd line, sid's systemd-boot and stub", more=True)
def _(c):
    c.firmware("trixie")
    c.loader("systemd-sid")
    c.uki("systemd-sid", "os/matrix.efi", c.sections("systemd-sid", None, "matrix=embedded"))
    c.put(cpio({"etc/second": b"second\n"}), "os/second.cpio")
    c.text("loader/entries/matrix.conf", f"title Matrix\nuki /os/matrix.efi\ninitrd /os/second.cpio\noptions {CONSOLE} matrix=entry\n")


@case("entry-linux-uki-initrd-sid", "a UKI as linux with an initrd line, sid's systemd-boot and stub", more=True)
def _(c):
    c.firmware("trixie")
    c.loader("systemd-sid")
    c.uki("systemd-sid", "os/matrix.efi", c.sections("systemd-sid", None, "matrix=embedded"))
    c.put(cpio({"etc/second": b"second\n"}), "os/second.cpio")
    c.text("loader/entries/matrix.conf", f"title Matrix\nlinux /os/matrix.efi\ninitrd /os/second.cpio\noptions {CONSOLE} matrix=entry\n")


@case("order-texts-sid", "sort keys that are empty or quoted, versions with zeros and letters, sid's systemd-boot", more=True)
def _(c):
    order_of_texts(c, "systemd-sid")


@case("order-texts-257", "sort keys that are empty or quoted, versions with zeros and letters, systemd-boot 257", more=True)
def _(c):
    order_of_texts(c, "systemd-257")


def order_of_texts(c, part):
    c.firmware("trixie")
    c.oracles = ["none"]  # to bootctl an empty value is none in every version
    c.loader(part)
    for name, release in (("os-1.0", "IMAGE_ID=\nID=zzz"), ("os-1.beta", "IMAGE_ID=\"\"\nID=zzz"), ("b", "ID=AAA"), ("c", "ID='A'")):
        sections = [(n, f"{release}\nPRETTY_NAME=x\n".encode() if n == ".osrel" else d)
                    for n, d in c.sections(part, None, f"matrix={name}")]
        c.uki(part, f"EFI/Linux/{name}.efi", sections)


@case("profile-no-cmdline-257", "profiles of a UKI 257 without a command line, the second by loader.conf", more=True)
def _(c):
    c.firmware("trixie")
    c.loader("systemd-257")
    sections = [s for s in c.sections("systemd-257") if s[0] != ".cmdline"]
    c.uki("systemd-257", "EFI/Linux/matrix.efi", sections + [(".profile", b"ID=a\n"), (".profile", b"ID=b\n")])
    c.conf("default matrix.efi@b")


@case("addon-of-other-machine-257", "addons of another machine and without a byte beside a UKI 257", more=True)
def _(c):
    by_loader(c, "trixie", "systemd-257", "systemd-257")
    addon = c.addon("systemd-257", "loader/addons/a.addon.efi", [(".cmdline", b"addon=a")])
    image = bytearray(read(addon))
    at = int.from_bytes(image[0x3C:0x40], "little") + 4
    image[at:at + 2] = (0xAA64).to_bytes(2, "little")
    c.put(bytes(image), "loader/addons/a.addon.efi")
    c.put(b"", "EFI/Linux/matrix.efi.extra.d/b.addon.efi")


# --- Secure Boot ------------------------------------------------------------------------------------------------------

def secure(c, suite, loader, part, keys=("db",), kernel=None, sign="db"):
    c.firmware(suite, keys=keys)
    c.predict += ["--variables", c.vars]
    if loader:
        c.loader(loader, sign="db")
    path = "EFI/Linux/matrix.efi" if loader else "EFI/BOOT/BOOTX64.EFI"
    c.uki(part, path, c.sections(part, kernel, "matrix=secure"), sign=sign)


@case("secure-252", "Secure Boot, systemd-boot 252 and UKI 252, firmware of trixie")
def _(c):
    secure(c, "trixie", "systemd-252", "systemd-252")


@case("secure-254-direct", "Secure Boot, UKI 254 started by the firmware of bookworm, kernel 6.1")
def _(c):
    secure(c, "bookworm", None, "systemd-254", kernel="kernel-6.1-security")


@case("secure-257-two-keys", "Secure Boot, loader and UKI 257 signed by different keys, signed and unsigned addons, firmware of sid")
def _(c):
    secure(c, "sid", "systemd-257", "systemd-257", keys=("db", "db2"), sign="db2")
    c.addon("systemd-257", "loader/addons/a.addon.efi", [(".cmdline", b"addon=a")], sign="db2")
    c.addon("systemd-257", "loader/addons/unsigned.addon.efi", [(".cmdline", b"addon=unsigned")])
    c.addon("systemd-257", "EFI/Linux/matrix.efi.extra.d/b.addon.efi", [(".cmdline", b"addon=b")], sign="db")
    c.put(b"secret", "EFI/Linux/matrix.efi.extra.d/x.cred")


@case("secure-sid", "Secure Boot, sid's loader and stub, Type #1 beside it, sid's kernel, firmware of bookworm")
def _(c):
    secure(c, "bookworm", "systemd-sid", "systemd-sid", kernel="kernel-sid")
    c.conf("default matrix.efi", "secure-boot-enroll off")


@case("secure-type1-257", "Secure Boot, Type #1 with a signed kernel, systemd-boot 257, firmware of trixie", more=True)
def _(c):
    c.firmware("trixie", keys=("db", "db2"))
    c.predict += ["--variables", c.vars]
    c.loader("systemd-257", sign="db")
    linux, initrd = c.tiny()
    c.put(c.sign("db2", linux, c.inputs + "/vmlinuz"), "os/vmlinuz")
    c.put(initrd, "os/initrd.cpio")
    c.text("loader/entries/matrix.conf", f"linux /os/vmlinuz\ninitrd /os/initrd.cpio\noptions {CONSOLE}\n")


@case("secure-setup-mode-sid", "the Secure Boot build of sid's firmware without keys, sid's systemd-boot", more=True)
def _(c):
    c.firmware("sid", secure=True)
    c.predict += ["--variables", c.vars, "--firmware", c.code]
    c.pcrs.append("7")
    c.loader("systemd-sid")
    c.uki("systemd-sid", "EFI/Linux/matrix.efi", c.sections("systemd-sid", None, "matrix=setup"))


def databases(c, suite, *unknown):
    """Secure Boot with keys put in; loader and UKI 257 are signed by db."""
    secure(c, suite, "systemd-257", "systemd-257")
    c.firmware_too(*unknown)


@case("secure-dbx-others", "Secure Boot, dbx with digests of other images, another certificate and the digest of one, firmware of trixie", more=True)
def _(c):
    databases(c, "trixie")
    linux, _ = c.tiny()
    c.stored("dbx", c.digests(linux) + c.certificates("KEK") + c.revoked("db2"))
    c.predict[c.predict.index("--variables") + 1] = c.vars


@case("secure-dbt", "Secure Boot, variables dbt and dbr exist, firmware of bookworm", more=True)
def _(c):
    databases(c, "bookworm")
    c.stored("dbt", c.certificates("db2"))
    c.stored("dbr", c.certificates("KEK"))
    c.predict[c.predict.index("--variables") + 1] = c.vars


@case("secure-db-digest", "Secure Boot, an unsigned UKI that db names by its digest behind a signed loader, firmware of sid", more=True)
def _(c):
    secure(c, "sid", "systemd-257", "systemd-257", sign=None)
    c.firmware_too("0")
    linux, _ = c.tiny()
    c.stored("db", c.certificates("db2", "db") + c.digests(linux, c.esp + "/EFI/Linux/matrix.efi"))
    c.predict[c.predict.index("--variables") + 1] = c.vars


@case("secure-db-digests-only", "Secure Boot without a certificate in db: an unsigned UKI 254 started by the firmware of trixie", more=True)
def _(c):
    secure(c, "trixie", None, "systemd-254", sign=None)
    c.firmware_too()
    c.stored("db", c.digests(c.esp + "/EFI/BOOT/BOOTX64.EFI"))
    c.predict[c.predict.index("--variables") + 1] = c.vars


@case("secure-ca", "Secure Boot, db holds a CA only: a loader signed by its leaf, a UKI through an intermediate, firmware of bookworm", more=True)
def _(c):
    secure(c, "bookworm", "systemd-257", "systemd-257", sign=None)
    c.firmware_too()
    root, middle = c.issue("root", "root", ca=True), c.issue("middle", "root", ca=True)
    one, two = c.issue("one", "root"), c.issue("two", "middle")
    for key, path, more in ((one, "EFI/BOOT/BOOTX64.EFI", []), (two, "EFI/Linux/matrix.efi", ["--addcert", middle + ".crt"])):
        image = c.parts.boot("systemd-257", "systemd-bootx64.efi") if not more else f"{c.esp}/{path}"
        c.run(["sbsign", "--key", key + ".key", "--cert", key + ".crt", *more, "--output", f"{c.inputs}/signed", image])
        c.put(f"{c.inputs}/signed", path)
    c.stored("db", c.made(["cert-to-efi-sig-list", root + ".crt"], "root.esl"))
    c.predict[c.predict.index("--variables") + 1] = c.vars


@case("secure-expired", "Secure Boot, a key of db whose certificate was valid in 2011 only, firmware of sid", more=True)
def _(c):
    secure(c, "sid", None, "systemd-257", sign=None)
    c.firmware_too("0")
    old = c.expired("old")
    image = c.esp + "/EFI/BOOT/BOOTX64.EFI"
    c.run(["sbsign", "--key", old + ".key", "--cert", old + ".crt", "--output", image, image])
    c.stored("db", c.made(["cert-to-efi-sig-list", old + ".crt"], "old.esl"))
    c.predict[c.predict.index("--variables") + 1] = c.vars


@case("secure-signed-twice", "Secure Boot, images signed twice: by a key of db second, by two keys of db in the other order, firmware of trixie", more=True)
def _(c):
    secure(c, "trixie", None, "systemd-257", keys=("db",), sign=None)
    c.firmware_too()
    c.loader("systemd-257", sign="db")
    c.sign("db2", c.esp + "/EFI/BOOT/BOOTX64.EFI")
    c.uki("systemd-257", "EFI/Linux/matrix.efi", c.sections("systemd-257", None, "matrix=twice"), sign="PK")
    c.sign("db2", c.esp + "/EFI/Linux/matrix.efi")
    c.addon("systemd-257", "loader/addons/a.addon.efi", [(".cmdline", b"addon=a")], sign="db")
    c.stored("db", c.certificates("db2", "db"))
    c.predict[c.predict.index("--variables") + 1] = c.vars


@case("secure-keys-as-auth", "Secure Boot, the keys given as .auth, certificate and lists, not as a store, firmware of trixie", more=True)
def _(c):
    secure(c, "trixie", "systemd-257", "systemd-257", keys=("db", "db2"), sign="db2")
    at = c.predict.index("--variables")
    del c.predict[at:at + 2]
    for name, certificates in (("PK", ["PK"]), ("db", ["db", "db2"])):
        lists = c.input(name + ".lists", c.certificates(*certificates))
        c.run(["sign-efi-sig-list", "-k", c.key("PK.key"), "-c", c.key("PK.crt"), name, lists, f"{c.inputs}/{name}.auth"])
    # What virt-fw-vars puts into dbx where nobody gives one.
    c.stored("dbx", c.digests(c.tiny()[0]))
    c.predict += ["--pk", f"{c.inputs}/PK.auth", "--kek", c.key("KEK.crt"), "--key-owner", OWNER, "--db", f"{c.inputs}/db.auth",
                  "--dbx", f"{c.inputs}/images.esl", "--dbt", "none", "--dbr", "none"]
    c.firmware_too()


# --- what lies beside a UKI ---------------------------------------------------------------------------------------------

def companions(c, part, folder="EFI/Linux/matrix.efi.extra.d/"):
    major = c.parts.major(part)
    if major >= 254:
        c.addon(part, "loader/addons/zz.addon.efi", [(".cmdline", b" zz=1\tq ")])
        c.addon(part, "loader/addons/B.ADDON.EFI", [(".cmdline", "umlaut=\u00e4\u20ac".encode())])
        c.addon(part, folder + "uname.addon.efi", [(".uname", b"other"), (".cmdline", b"never=1")])
        c.addon(part, folder + "own.addon.efi", [(".uname", b"6.12-rig-tiny"), (".cmdline", b"own=1")])
    if major >= 257:
        c.addon(part, folder + "initrd.addon.efi", [(".initrd", cpio({"etc/addon": b"x\n"}) + b"\0")])
        c.addon(part, folder + "ucode1.addon.efi", [(".ucode", microcode(b"one"))])
        c.addon(part, "loader/addons/ucode2.addon.efi", [(".ucode", microcode(b"two"))])
    for name in ("b.cred", "A.CRED", "empty.cred", ".hidden.cred", "long name with spaces and more.cred", "no-cred.txt"):
        c.put(b"" if name == "empty.cred" else name.encode(), folder + name)
    c.put(b"\0\1\2", "loader/credentials/Global.cred")
    c.put(b"global", "loader/credentials/a.cred")
    c.put(squash(c, "one", "sysext"), folder + "one.raw")
    c.put(squash(c, "two", "sysext"), folder + "two.sysext.raw")
    c.put(squash(c, "three", "confext"), folder + "three.confext.raw")
    c.put(squash(c, "four", "sysext"), "loader/extensions/four.sysext.raw")
    c.put(squash(c, "five", "confext"), "loader/extensions/five.confext.raw")


@case("companions-252", "UKI 252 beside credentials and extensions, started by the firmware of sid")
def _(c):
    direct(c, "sid", "systemd-252")
    companions(c, "systemd-252", "EFI/BOOT/BOOTX64.EFI.extra.d/")


def counted(c, part, name, folder):
    """A UKI with a boot counter, and a folder that has its name without, and one with the counter of this try."""
    c.loader(part)
    c.uki(part, f"EFI/Linux/{name}", c.sections(part, None, "matrix=counted"))
    companions(c, part)
    c.put(b"counted", f"EFI/Linux/{folder}/counted.cred")


@case("companions-254", "UKI 254 with addons, credentials, extensions; counted")
def _(c):
    c.firmware("trixie")
    counted(c, "systemd-254", "matrix+3.efi", "matrix+2-1.efi.extra.d")


@case("counted-252", "UKI 252 with a boot counter beside companions, firmware of trixie")
def _(c):
    c.firmware("trixie")
    counted(c, "systemd-252", "matrix+3.efi", "matrix+2-1.efi.extra.d")


@case("counted-252-security", "UKI of an older 252 with a boot counter beside companions, firmware of bookworm", more=True)
def _(c):
    c.firmware("bookworm")
    counted(c, "systemd-252-security", "matrix+3.efi", "matrix+2-1.efi.extra.d")


@case("companions-257", "UKI 257 with addons of each kind, credentials, extensions; counted; firmware of bookworm")
def _(c):
    c.firmware("bookworm")
    counted(c, "systemd-257", "matrix+3-1.efi", "matrix+2-2.efi.extra.d")


@case("companions-sid", "sid's UKI with addons of each kind, credentials, global extensions, on the firmware of trixie")
def _(c):
    by_loader(c, "trixie", "systemd-sid", "systemd-sid")
    companions(c, "systemd-sid")
    c.conf("default matrix*")


# --- inside a UKI -------------------------------------------------------------------------------------------------------

def profiles(c, part, path):
    """A UKI with three profiles: the second has its own command line, the third its own signatures and no name."""
    return c.uki(part, path, c.sections(part, None, "matrix=base") + [
        (".profile", b"ID=main\nTITLE=Main\n"),
        (".profile", b"ID=one\nTITLE=One\n"), (".cmdline", f"{CONSOLE} matrix=one".encode()),
        (".profile", b"TITLE=Two\n"), (".pcrsig", b"{}")])


@case("profile-257", "a UKI 257 with profiles, the second one by loader.conf, firmware of bookworm")
def _(c):
    c.firmware("bookworm")
    c.loader("systemd-257")
    profiles(c, "systemd-257", "EFI/Linux/matrix.efi")
    c.conf("default matrix.efi@one")


@case("profile-sid", "sid's UKI with profiles, the first one, firmware of trixie")
def _(c):
    c.firmware("trixie")
    c.loader("systemd-sid")
    profiles(c, "systemd-sid", "EFI/Linux/matrix.efi")
    c.conf("default matrix*")


@case("profile-secure-257", "Secure Boot and a profile of a UKI 257 that loader.conf chooses, firmware of trixie")
def _(c):
    c.firmware("trixie", keys=("db",))
    c.predict += ["--variables", c.vars]
    c.loader("systemd-257", sign="db")
    profiles(c, "systemd-257", "EFI/Linux/matrix.efi")
    c.sign("db", c.esp + "/EFI/Linux/matrix.efi")
    c.conf("default matrix.efi@one")


def signed(c, suite, part, more=()):
    """ukify's UKI with signatures of two keys for four banks, microcode, a splash, .sbat."""
    sections = dict(c.sections(part, None, "matrix=pcrsig"))
    files = {name: c.input(name, data) for name, data in
             (("linux", sections[".linux"]), ("initrd", sections[".initrd"]), ("cmdline", sections[".cmdline"]),
              ("os-release", sections[".osrel"]), ("microcode", microcode(b"signed")), ("splash", bitmap()),
              ("second.cpio", cpio({"etc/second": b"x\n"})[:-3]))}
    keys = [c.key("pcr.key"), c.key("db.key")]
    options = [f"--stub=linuxx64.efi.stub", "--linux=linux", "--initrd=initrd", "--initrd=second.cpio", "--cmdline=@cmdline",
               "--os-release=@os-release", "--microcode=microcode", "--splash=splash", "--uname=6.12-rig-tiny",
               "--pcr-private-key=pcr.key", "--pcr-public-key=pcr.pub", "--phases=enter-initrd",
               "--pcr-private-key=db.key", "--pcr-public-key=db.pub", "--phases=enter-initrd:leave-initrd enter-initrd:leave-initrd:sysinit",
               "--pcr-banks=sha1,sha256,sha384,sha512", "--sbat=" + SBAT + "uki.matrix,1,Matrix,matrix,1,https://example.invalid/\n", *more]
    c.run(["openssl", "rsa", "-in", c.key("db.key"), "-pubout", "-out", c.inputs + "/db.pub"])
    stub = c.parts.boot(part, "linuxx64.efi.stub")
    return c.ukify(suite, "matrix.efi", options, [*files.values(), *keys, c.key("pcr.pub"), c.inputs + "/db.pub", stub])


@case("pcrsig-257", "ukify 257: signatures by two keys, microcode, splash, two initrds; started by systemd-boot 252", chroot="trixie")
def _(c):
    c.firmware("trixie")
    c.loader("systemd-252")
    c.put(signed(c, "trixie", "systemd-257"), "EFI/Linux/matrix.efi")


@case("pcrsig-sid", "sid's ukify and stub: signatures by two keys, microcode, splash, two initrds; firmware of bookworm", chroot="sid")
def _(c):
    c.firmware("bookworm")
    c.put(signed(c, "sid", "systemd-sid"), "EFI/BOOT/BOOTX64.EFI")


@case("pcrsig-254", "ukify 257 with a stub 254: signatures by two keys, in the initrd", chroot="trixie", more=True)
def _(c):
    c.firmware("sid")
    c.put(signed(c, "trixie", "systemd-254"), "EFI/BOOT/BOOTX64.EFI")


SMBIOS_TYPE1 = "type=1,manufacturer=Matrix,product=Board,family=Fam,sku=Sku,serial=1"


def board(c, part):
    """A UKI with devicetrees, of which the machine's hardware ids choose the second."""
    c.boot_args += ["--extra=-smbios", "--extra=" + SMBIOS_TYPE1]
    ids = hwids([(0x1000001C, chid("Other", "Board"), "other", "matrix,first"),
                 (0x1000001C, chid("Matrix", "Board"), "matrix", "matrix,second")])
    trees = [(".dtbauto", devicetree("matrix,first")), (".dtbauto", devicetree("matrix,second"))]
    c.predict += ["--devicetree", "1"]
    return c.sections(part, None, "matrix=board") + [(".hwids", ids), *trees]


@case("hwids-257", "UKI 257: .hwids and two .dtbauto, chosen by the machine's SMBIOS", more=True)
def _(c):
    c.firmware("trixie")
    c.uki("systemd-257", "EFI/BOOT/BOOTX64.EFI", board(c, "systemd-257"))


@case("hwids-sid", "sid's UKI: .hwids, two .dtbauto, an .efifw for another machine")
def _(c):
    c.firmware("sid")
    c.predict += ["--firmware-image", "none"]
    c.uki("systemd-sid", "EFI/BOOT/BOOTX64.EFI", board(c, "systemd-sid"))


@case("odd-sections-254", "UKI 254: a section beyond its data, an empty one, an unknown one, a blank command line", more=True)
def _(c):
    c.firmware("trixie")
    sections = [s for s in c.sections("systemd-254") if s[0] != ".cmdline"]
    c.uki("systemd-254", "EFI/BOOT/BOOTX64.EFI",
          sections + [(".cmdline", b"  console=ttyS0\n\tquiet \n"), (".splash", b"", 0), (".zzz", b"unknown"), (".sbat", b"own", 0x600)])


@case("odd-sections-257", "UKI 257: a section beyond its data, sections twice, an unknown one; no .uname")
def _(c):
    c.firmware("bookworm")
    sections = [s for s in c.sections("systemd-257") if s[0] not in (".cmdline", ".uname")]
    c.uki("systemd-257", "EFI/BOOT/BOOTX64.EFI",
          sections + [(".cmdline", "  console=ttyS0\r\n  \u00e4 \n".encode(), 0x40), (".zzz", b"unknown"), (".osrel", b"ID=second\n")])


@case("no-initrd-cmdline-sid", "sid's UKI without a command line, a profile by loader.conf: the kernel sees the selector", more=True)
def _(c):
    c.firmware("trixie")
    c.loader("systemd-sid")
    sections = [s for s in c.sections("systemd-sid") if s[0] != ".cmdline"]
    c.uki("systemd-sid", "EFI/Linux/matrix.efi", sections + [(".profile", b"ID=a\n"), (".profile", b"ID=b\n")])
    c.conf("default matrix.efi@b")
    # The stub would add a console= if the machine had but one serial port.
    c.predict += ["--stub-console", "none"]


@case("devicetree-addons-257", "UKI 257 with .dtb and addons with .dtb and .dtbauto, firmware of sid", more=True)
def _(c):
    by_loader(c, "sid", "systemd-257", "systemd-257")
    dtb_addons(c, "systemd-257")


@case("devicetree-addons-sid", "sid's UKI with .dtb and addons with .dtb, firmware of bookworm", more=True)
def _(c):
    by_loader(c, "bookworm", "systemd-sid", "systemd-sid")
    dtb_addons(c, "systemd-sid")


def dtb_addons(c, part):
    c.uki(part, "EFI/Linux/matrix.efi", c.sections(part, None, "matrix=dtb") + [(".dtb", devicetree("matrix,uki"))])
    c.addon(part, "loader/addons/tree.addon.efi", [(".dtb", devicetree("matrix,addon")), (".cmdline", b"tree=1")])
    c.addon(part, "EFI/Linux/matrix.efi.extra.d/own.addon.efi", [(".dtb", devicetree("matrix,own"))])
    c.conf("default matrix*")


@case("pcrsig-252", "UKI 252 with .pcrsig, .pcrpkey and .splash, started by its systemd-boot, firmware of bookworm", more=True)
def _(c):
    c.firmware("bookworm")
    c.loader("systemd-252")
    c.uki("systemd-252", "EFI/Linux/matrix.efi", [s for s in c.sections("systemd-252", None, "matrix=pcrsig") if s[0] != ".uname"] + [
        (".pcrsig", b'{"sha256":[]}'), (".pcrpkey", b"-----BEGIN PUBLIC KEY-----\n"), (".splash", bitmap())])


# --- what the machine tells -----------------------------------------------------------------------------------------------

def smbios(c, *texts):
    c.boot_args += ["--extra=-smbios", "--extra=type=11," + ",".join(f"value={text}" for text in texts)]
    for text in texts:
        c.predict += ["--smbios-string", text]


STUB_WORDS = "io.systemd.stub.kernel-cmdline-extra=stub=1  two"
BOOT_WORDS = "io.systemd.boot.kernel-cmdline-extra=boot=1  two"


@case("smbios-254", "a command line from SMBIOS for a UKI 254 without one of its own", more=True)
def _(c):
    c.firmware("bookworm")
    smbios(c, STUB_WORDS)
    c.uki("systemd-254", "EFI/BOOT/BOOTX64.EFI", [s for s in c.sections("systemd-254") if s[0] != ".cmdline"])


@case("smbios-type1-sid", "command lines from SMBIOS for sid's systemd-boot, Type #1", more=True)
def _(c):
    type1(c, "sid", "systemd-sid", "initrd /os/initrd.cpio\n")
    smbios(c, "other=1", BOOT_WORDS, STUB_WORDS)


@case("smbios-type1-257", "command lines from SMBIOS for systemd-boot 257, Type #1", more=True)
def _(c):
    type1(c, "trixie", "systemd-257", "initrd /os/initrd.cpio\n")
    smbios(c, BOOT_WORDS)


@case("smbios-sid", "a command line from SMBIOS for sid's UKI with an addon")
def _(c):
    by_loader(c, "sid", "systemd-sid", "systemd-sid")
    smbios(c, BOOT_WORDS, STUB_WORDS)
    c.addon("systemd-sid", "loader/addons/a.addon.efi", [(".cmdline", b"addon=a")])


# --- the disk -------------------------------------------------------------------------------------------------------------

@case("xbootldr-257", "UKI and entries in an XBOOTLDR partition, a driver in the ESP, systemd-boot 257")
def _(c):
    c.firmware("trixie")
    c.loader("systemd-257")
    c.xbootldr = c.dir + "/xbootldr"
    c.disk_options = ["--size-mib", "160"]
    c.uki("systemd-257", "EFI/Linux/matrix.efi", c.sections("systemd-257", None, "matrix=xbootldr"), where=c.xbootldr)
    c.put(b"credential", "EFI/Linux/matrix.efi.extra.d/x.cred", c.xbootldr)
    c.put(b"on the ESP", "loader/credentials/esp.cred")
    c.put(b"on XBOOTLDR", "loader/credentials/xbootldr.cred", c.xbootldr)
    c.put(c.parts.file("refind", "usr/share/refind/refind/drivers_x64/ext4_x64.efi"), "EFI/systemd/drivers/ext4x64.efi")
    c.put(c.parts.file("refind", "usr/share/refind/refind/drivers_x64/iso9660_x64.efi"), "EFI/systemd/drivers/iso_aa64.efi")
    c.conf("default matrix.efi")
    c.predict += ["--platform", "ovmf"]
    c.pcrs += ["2"]


@case("xbootldr-252", "Type #1 entry and kernel in an XBOOTLDR partition, systemd-boot 252, CRLF in the entry", more=True)
def _(c):
    c.firmware("sid")
    c.loader("systemd-252")
    c.xbootldr = c.dir + "/xbootldr"
    c.disk_options = ["--size-mib", "160"]
    linux, initrd = c.tiny()
    c.put(linux, "os/vmlinuz", c.xbootldr)
    c.put(initrd, "os/initrd.cpio", c.xbootldr)
    c.text("loader/entries/matrix.conf", f"title Matrix\r\nlinux /os/vmlinuz\r\ninitrd /os/initrd.cpio\r\noptions {CONSOLE} \r\n", c.xbootldr)


@case("sector-4096", "a disk with blocks of 4096 bytes, sid's systemd-boot and stub")
def _(c):
    by_loader(c, "trixie", "systemd-sid", "systemd-sid")
    c.disk_options = ["--sector", "4096", "--size-mib", "600"]
    c.boot_args += ["--sector", "4096"]


@case("order-257", "several entries and no default: systemd-boot 257 sorts")
def _(c):
    c.firmware("trixie")
    c.loader("systemd-257")
    for name, version, key in (("a", "1.9", "matrix"), ("b", "1.10", "matrix"), ("c", "1.10~rc1", "matrix"), ("z", "9", "zebra")):
        sections = [(n, f"ID={key}\nVERSION_ID={version}\nPRETTY_NAME=x\n".encode() if n == ".osrel" else d)
                    for n, d in c.sections("systemd-257", None, f"matrix={name}")]
        c.uki("systemd-257", f"EFI/Linux/{name}.efi", sections)


# --- a whole system --------------------------------------------------------------------------------------------------------

MACHINE_ID = "0123456789abcdef0123456789abcdef"


def system(c, suite, *options):
    """mkosi's image, up to the end of the boot in user space."""
    c.firmware(suite)
    c.mkosi(suite, *options)
    c.stage = "ready"
    c.oracles = ["verity", "document", "split", f"dissect of {suite}"]
    c.boot_args += ["--timeout", "1500"]
    c.predict += ["--machine-id", MACHINE_ID, "--root-fs", "none", "--volume-key", "none"]
    c.pcrs.append("15")


@case("mkosi-trixie", "mkosi of trixie: systemd-boot and UKI, dm-verity, erofs; systemd of trixie up to 'ready'", chroot="trixie")
def _(c):
    system(c, "trixie")


@case("mkosi-sid", "mkosi of sid: the same with sid's systemd, systemd-tpm in initrd and root", chroot="sid", more=True)
def _(c):
    system(c, "sid", "--package=systemd-tpm")
    c.predict += ["--nvpcr", "none"]
    c.after_facts(c.parts.major("systemd-sid"))


# --- boot options and shim ---------------------------------------------------------------------------------------------------

def boot_option(c, path, words):
    """The firmware's only boot option: a file, with these words as its LoadOptions."""
    c.enroll(["--append-boot-filepath", f"/{path} {words}"])
    c.boot_args.append("--no-bootindex")
    c.predict += ["--boot-option", path, "--cmdline", words]


@case("load-options-257", "a boot option's LoadOptions replace the command line of a UKI 257")
def _(c):
    c.firmware("trixie")
    c.uki("systemd-257", "EFI/matrix/uki.efi", c.sections("systemd-257", None, "matrix=embedded"))
    boot_option(c, "EFI/matrix/uki.efi", f"{CONSOLE}  matrix=option ")


@case("load-options-254", "a boot option's LoadOptions for a UKI 254, firmware of bookworm", more=True)
def _(c):
    c.firmware("bookworm")
    c.uki("systemd-254", "EFI/matrix/uki.efi", c.sections("systemd-254", None, "matrix=embedded"))
    boot_option(c, "EFI/matrix/uki.efi", f"{CONSOLE}  matrix=option ")


@case("load-options-sid", "LoadOptions with a profile's number for sid's UKI, firmware of sid", more=True)
def _(c):
    c.firmware("sid")
    profiles(c, "systemd-sid", "EFI/matrix/uki.efi")
    boot_option(c, "EFI/matrix/uki.efi", f"@1 {CONSOLE} matrix=option")


@case("load-options-secure-257", "Secure Boot refuses LoadOptions where a UKI 257 has a command line", more=True)
def _(c):
    c.firmware("trixie", keys=("db",))
    c.predict += ["--variables", c.vars]
    c.uki("systemd-257", "EFI/matrix/uki.efi", c.sections("systemd-257", None, "matrix=embedded"), sign="db")
    boot_option(c, "EFI/matrix/uki.efi", f"{CONSOLE} matrix=option")


@case("boot-order-257", "the variable store's boot options decide: a file that is missing, then a UKI with LoadOptions", more=True)
def _(c):
    c.firmware("trixie")
    c.uki("systemd-257", "EFI/matrix/uki.efi", c.sections("systemd-257", None, "matrix=embedded"))
    c.uki("systemd-257", "EFI/BOOT/BOOTX64.EFI", c.sections("systemd-257", None, "matrix=fallback"))
    c.enroll(["--append-boot-filepath", "/EFI/matrix/missing.efi never",
              "--append-boot-filepath", f"/EFI/matrix/uki.efi {CONSOLE} matrix=second"])
    c.boot_args.append("--no-bootindex")
    c.predict += ["--variables", c.vars, "--firmware", c.code]
    # OVMF 2025.02 measures "Returning from EFI Application" and "Calling EFI Application" for the one that is missing.
    c.unknown["4"] = "outcome of the first option"


@case("entry-variable-257", "systemd-boot's variable LoaderEntryDefault decides against loader.conf and the order", more=True)
def _(c):
    c.firmware("bookworm")
    c.loader("systemd-257")
    for name in ("a", "b", "c"):
        c.uki("systemd-257", f"EFI/Linux/{name}.efi", c.sections("systemd-257", None, f"matrix={name}"))
    c.conf("default c.efi")
    variable("LoaderEntryDefault", "a.efi", c)
    c.predict += ["--variables", c.vars, "--firmware", c.code]


def variable(name, text, c):
    """A variable of systemd-boot in the variable store."""
    data = (text + "\0").encode("utf-16-le").hex()
    c.enroll(["--set-json", c.input("variable.json", json.dumps({"version": 2, "variables": [
        {"name": name, "guid": "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", "attr": 7, "data": data}]}))])


def bare_kernel(c, kernel):
    """The kernel as the firmware's boot option, with an initrd= that its own stub reads."""
    linux, initrd = c.tiny()
    c.put(c.parts.kernel(kernel) if kernel else linux, "os/vmlinuz.efi")
    c.put(initrd, "os/initrd.cpio")
    boot_option(c, "os/vmlinuz.efi", f"initrd=\\os\\initrd.cpio {CONSOLE} matrix=kernel")


@case("kernel-direct-6.12", "kernel 6.12 started by the firmware, initrd= in its LoadOptions", more=True)
def _(c):
    c.firmware("trixie")
    bare_kernel(c, None)


@case("kernel-direct-newest", "the newest backported kernel started by the firmware, initrd= in its LoadOptions", more=True)
def _(c):
    c.firmware("bookworm")
    bare_kernel(c, "kernel-backports")
    c.unknown["9"] = "file that the kernel's own stub reads"


@case("type1-linux-uki-sid", "Type #1 entry whose linux is sid's UKI, with options, sid's systemd-boot", more=True)
def _(c):
    c.firmware("sid")
    c.loader("systemd-sid")
    c.uki("systemd-sid", "os/matrix.efi", c.sections("systemd-sid", None, "matrix=embedded"))
    c.text("loader/entries/matrix.conf", f"title Matrix\nlinux /os/matrix.efi\noptions {CONSOLE} matrix=entry\n")


@case("type1-linux-uki-254", "Type #1 entry whose linux is a UKI 254, without options, systemd-boot 254", more=True)
def _(c):
    c.firmware("bookworm")
    c.loader("systemd-254")
    c.uki("systemd-254", "os/matrix.efi", c.sections("systemd-254", None, "matrix=embedded"))
    c.text("loader/entries/matrix.conf", "title Matrix\nlinux /os/matrix.efi\n")


@case("shim-loader-257", "shim, Debian's signed systemd-boot 257 and a UKI signed by a MOK", more=True)
def _(c):
    c.firmware("trixie", vars_="OVMF_VARS_4M.ms.fd")
    c.enroll(["--add-mok", "11111111-2222-3333-4444-123456789abc", c.key("db2.crt")])
    c.predict += ["--variables", c.vars]
    c.put(c.parts.file("shim-trixie", "usr/lib/shim/shimx64.efi.signed"), "EFI/BOOT/BOOTX64.EFI")
    c.put(c.parts.boot("sdboot-signed", "systemd-bootx64.efi.signed"), "EFI/BOOT/grubx64.efi")
    c.uki("systemd-257", "EFI/Linux/matrix.efi", c.sections("systemd-257", None, "matrix=shim"), sign="db2")
    c.conf("default matrix.efi")
    c.pcrs.append("14")


@case("shim-15.8-loader-257", "shim 15.8 of Debian 11, Debian's signed systemd-boot 257 and a UKI signed by a MOK", more=True)
def _(c):
    c.firmware("trixie", vars_="OVMF_VARS_4M.ms.fd")
    c.enroll(["--add-mok", "11111111-2222-3333-4444-123456789abc", c.key("db2.crt")])
    c.predict += ["--variables", c.vars]
    c.put(c.parts.file("shim-bullseye", "usr/lib/shim/shimx64.efi.signed"), "EFI/BOOT/BOOTX64.EFI")
    c.put(c.parts.boot("sdboot-signed", "systemd-bootx64.efi.signed"), "EFI/BOOT/grubx64.efi")
    c.uki("systemd-257", "EFI/Linux/matrix.efi", c.sections("systemd-257", None, "matrix=shim"), sign="db2")
    c.conf("default matrix.efi")
    c.pcrs.append("14")


@case("shim-15.8-no-secure-boot", "shim 15.8 of Debian 11 without Secure Boot, a stored SbatLevel that it resets", more=True)
def _(c):
    c.firmware("trixie")
    c.stored("SbatLevel", b"sbat,1,2026010100\nshim,4\ngrub,5\n", SHIM_LOCK, 3)
    c.predict += ["--variables", c.vars, "--firmware", c.code]
    c.put(c.parts.file("shim-bullseye", "usr/lib/shim/shimx64.efi.signed"), "EFI/BOOT/BOOTX64.EFI")
    c.put(c.parts.boot("sdboot-signed", "systemd-bootx64.efi.signed"), "EFI/BOOT/grubx64.efi")
    c.uki("systemd-257", "EFI/Linux/matrix.efi", c.sections("systemd-257", None, "matrix=shim"))
    c.conf("default matrix.efi")
    c.pcrs += ["7", "14"]


@case("shim-moklistx", "shim with a MOK, MokListX of other programs and keys, a newer SbatLevel and a policy, UKI of the MOK", more=True)
def _(c):
    c.firmware("trixie", vars_="OVMF_VARS_4M.ms.fd")
    c.enroll(["--add-mok", "11111111-2222-3333-4444-123456789abc", c.key("db2.crt")])
    # Not of the tiny kernel: shim looks the kernel inside the UKI up, too, and refuses it.
    other = c.parts.boot("systemd-252", "systemd-bootx64.efi")
    c.stored("MokListX", c.digests(other) + c.certificates("KEK"), SHIM_LOCK, 3)
    c.stored("MokPolicy", b"\0", SHIM_LOCK, 3)
    c.stored("SbatLevel", b"sbat,1,2026010100\nshim,4\ngrub,5\n", SHIM_LOCK, 3)
    c.predict += ["--variables", c.vars]
    c.put(c.parts.file("shim-trixie", "usr/lib/shim/shimx64.efi.signed"), "EFI/BOOT/BOOTX64.EFI")
    c.put(c.parts.boot("sdboot-signed", "systemd-bootx64.efi.signed"), "EFI/BOOT/grubx64.efi")
    c.uki("systemd-257", "EFI/Linux/matrix.efi", c.sections("systemd-257", None, "matrix=shim"), sign="db2")
    c.conf("default matrix.efi")
    c.pcrs.append("14")


@case("shim-sbat-policy", "shim asked for its latest SbatLevel, Secure Boot, systemd-boot and UKI of MOKs", more=True)
def _(c):
    c.firmware("trixie", vars_="OVMF_VARS_4M.ms.fd")
    c.enroll(["--add-mok", "11111111-2222-3333-4444-123456789abc", c.key("db2.crt")])
    c.stored("SbatPolicy", b"\x01", SHIM_LOCK, 7)
    c.predict += ["--variables", c.vars]
    c.put(c.parts.file("shim-trixie", "usr/lib/shim/shimx64.efi.signed"), "EFI/BOOT/BOOTX64.EFI")
    c.put(c.parts.boot("sdboot-signed", "systemd-bootx64.efi.signed"), "EFI/BOOT/grubx64.efi")
    c.uki("systemd-257", "EFI/Linux/matrix.efi", c.sections("systemd-257", None, "matrix=shim"), sign="db2")
    c.conf("default matrix.efi")
    c.pcrs.append("14")


# --- GRUB, with its files on ext4 ---------------------------------------------------------------------------------------------

GRUB_UUID = "11111111-2222-4333-8444-555555555501"
# As grub-mkconfig of Debian writes it, shortened.
GRUB_CFG = r"""if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="@DEFAULT"
fi

if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi

export menuentry_id_option

function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
    save_env saved_entry
  fi
}
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  else
    insmod efi_gop
    insmod efi_uga
  fi
}

if [ x$feature_default_font_path = xy ] ; then
   font=unicode
else
    font="/usr/share/grub/unicode.pf2"
fi

if loadfont $font ; then
  set gfxmode=auto
  load_video
  insmod gfxterm
  set locale_dir=$prefix/locale
  set lang=de_DE
  insmod gettext
fi
terminal_output gfxterm
if [ "${recordfail}" = 1 ] ; then
  set timeout=30
else
  if [ x$feature_timeout_style = xy ] ; then
    set timeout_style=menu
    set timeout=1
  else
    set timeout=1
  fi
fi
set menu_color_normal=cyan/blue
function gfxmode {
	set gfxpayload="${1}"
}
set linux_gfx_mode=
export linux_gfx_mode
menuentry 'Debian GNU/Linux' --class debian --class gnu-linux --class gnu --class os $menuentry_id_option 'gnulinux-simple-@UUID' {
	load_video
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	insmod part_gpt
	insmod ext2
	set root='hd0,gpt2'
	if [ x$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt2 --hint-efi=hd0,gpt2 --hint-baremetal=ahci0,gpt2  @UUID
	else
	  search --no-floppy --fs-uuid --set=root @UUID
	fi
	echo	'Loading Linux ...'
	linux	/vmlinuz root=UUID=@UUID ro  @CONSOLE matrix=simple
	echo	'Loading initial ramdisk ...'
	initrd	/initrd.img
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-@UUID' {
	menuentry 'Debian GNU/Linux, with Linux' --class debian $menuentry_id_option 'gnulinux-advanced-entry' {
		savedefault
		insmod gzio
		linux	/vmlinuz root=UUID=@UUID ro "matrix=a b" @CONSOLE
		initrd	/initrd.img
	}
}
@SETUP
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
elif [ -z "${config_directory}" -a -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
"""
GRUB_SETUP = """if [ "$grub_platform" = "efi" ]; then
	fwsetup --is-supported
	if [ "$?" = 0 ]; then
		menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
			fwsetup
		}
	fi
fi
"""
ENVIRONMENT = b"# GRUB Environment Block\n"


def grub_environment(c, **values):
    text = ENVIRONMENT + b"".join(f"{name}={value}\n".encode() for name, value in values.items())
    c.put(text + b"#" * (1024 - len(text)), "grub/grubenv", c.dir + "/boot-partition")


def grub_files(c, suite, kernel=None):
    """What grub-install puts into /boot, a kernel and an initrd."""
    boot = c.dir + "/boot-partition"
    modules = os.path.dirname(c.parts.file(f"grub-modules-{suite}", "usr/lib/grub/x86_64-efi/normal.mod"))
    for name in os.listdir(modules):
        if name.endswith((".mod", ".lst")):
            c.put(os.path.join(modules, name), "grub/x86_64-efi/" + name, boot)
    linux, initrd = c.tiny()
    c.put(c.parts.kernel(kernel) if kernel else linux, "vmlinuz-6", boot)
    os.symlink("vmlinuz-6", boot + "/vmlinuz")
    c.put(initrd, "initrd.img", boot)
    # A translation of no texts.
    c.put(struct.pack("<7I", 0x950412DE, 0, 0, 28, 28, 0, 28), "grub/locale/de.mo", boot)
    c.pcrs = ["4", "5", "8", "9", "11", "12", "13"]
    return boot


def grub_configuration(c, suite, default="0"):
    setup = GRUB_SETUP if suite != "bookworm" else "menuentry 'UEFI Firmware Settings' --id uefi-firmware {\n\tfwsetup\n}\n"
    text = GRUB_CFG.replace("@SETUP", setup).replace("@DEFAULT", default).replace("@CONSOLE", CONSOLE)
    c.text("grub/grub.cfg", text.replace("@UUID", GRUB_UUID), c.dir + "/boot-partition")


def shim_and_grub(c, suite, shim):
    """Debian's signed chain, with the configuration that its installer leaves on the ESP."""
    c.put(c.parts.file(f"shim-{shim}", "usr/lib/shim/shimx64.efi.signed"), "EFI/BOOT/BOOTX64.EFI")
    c.put(c.parts.file(f"grub-signed-{suite}", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"), "EFI/BOOT/grubx64.efi")
    stub = f"search.fs_uuid {GRUB_UUID} root hd0,gpt2 \nset prefix=($root)'/grub'\nconfigfile $prefix/grub.cfg\n"
    c.text("EFI/debian/grub.cfg", stub)


def grub_image(c, suite, modules):
    """An image as grub-install makes it, with the module tpm, by the suite's grub-mkimage on its C library."""
    chroot = c.chroot(suite, "ukify")
    libraries = f"{chroot}/usr/lib/x86_64-linux-gnu"
    loader = [f"{chroot}/lib64/ld-linux-x86-64.so.2", "--library-path", libraries]
    early = c.input("early.cfg", f"search.fs_uuid {GRUB_UUID} root hd0,gpt2 \nset prefix=($root)'/grub'\n")
    folder = os.path.dirname(c.parts.file(f"grub-modules-{suite}", "usr/lib/grub/x86_64-efi/kernel.img"))
    out = os.path.join(c.inputs, "grub.efi")
    c.run([*loader, c.parts.file(f"grub-tools-{suite}", "usr/bin/grub-mkimage"), "-O", "x86_64-efi", "-d", folder,
           "-p", "/grub", "-c", early, "-o", out, *modules])
    c.put(out, "EFI/BOOT/BOOTX64.EFI")


def grub_disk(c, *options):
    """An ESP, and /boot on ext4."""
    table_sectors, total, start, size = 32, 192 * 2048, 2048, 80 * 2048
    parts = [(mkdisk.ESP_TYPE, mkdisk.PART_GUID, start, start + size - 1, "esp"),
             (LINUX_TYPE, mkdisk.XBOOTLDR_GUID, start + size, start + 2 * size - 1, "boot")]
    table = b"".join(mkdisk.entry(*part) for part in parts).ljust(128 * 128, b"\0")
    crc, first, last = zlib.crc32(table), 2 + table_sectors, total - 2 - table_sectors
    esp, boot = c.disk + ".esp", c.disk + ".boot"
    mkdisk.fat(esp, c.esp, size, 512, "ESP")
    with open(boot, "wb") as file:
        file.truncate(size * 512)
    mke2fs = shutil.which("mke2fs", path=os.environ["PATH"] + ":/usr/sbin:/sbin") or "mke2fs"
    c.run([mke2fs, "-q", "-t", "ext4", "-U", GRUB_UUID, "-E", f"hash_seed={GRUB_UUID}", "-L", "boot", *options,
           "-d", c.dir + "/boot-partition", boot], env=dict(os.environ, E2FSPROGS_FAKE_TIME="1700000000"))
    mbr = bytearray(512)
    mbr[446:462] = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, total - 1)
    mbr[510:512] = b"\x55\xaa"
    with open(c.disk, "wb") as file:
        file.truncate(total * 512)
        file.write(mbr + mkdisk.header(1, total - 1, first, last, 2, crc, 512) + table)
        mkdisk.copy(esp, file, start * 512)
        mkdisk.copy(boot, file, (start + size) * 512)
        file.seek((total - 1 - table_sectors) * 512)
        file.write(table + mkdisk.header(total - 1, 1, first, last, total - 1 - table_sectors, crc, 512))
    c.ready_disk = True


def debian_grub(c, suite, kernel, shim, *options):
    """The disk of Debian's installer, with Secure Boot and the keys of Microsoft."""
    c.firmware(suite, vars_="OVMF_VARS_4M.ms.fd")
    c.predict += ["--variables", c.vars]
    shim_and_grub(c, suite, shim)
    grub_files(c, suite, kernel)
    grub_environment(c)
    grub_configuration(c, suite)
    grub_disk(c, *options)
    c.pcrs += ["7", "14"]


@case("grub-debian-12", "shim, Debian 12's GRUB and kernel 6.1, /boot on ext4, Secure Boot", more=True)
def _(c):
    debian_grub(c, "bookworm", "kernel-6.1", "bookworm")


@case("grub-debian-12-shim-15.8", "shim 15.8 of Debian 11, Debian 12's GRUB and kernel 6.1, Secure Boot", more=True)
def _(c):
    debian_grub(c, "bookworm", "kernel-6.1", "bullseye")


@case("grub-debian-13", "shim, Debian 13's GRUB and kernel 6.12, /boot on ext4 with a seed of checksums, Secure Boot")
def _(c):
    debian_grub(c, "trixie", "kernel-6.12", "trixie", "-O", "metadata_csum_seed")


@case("grub-sid-submenu", "shim and sid's GRUB without Secure Boot: modules from disk, a saved default in a submenu", more=True)
def _(c):
    c.firmware("trixie")
    shim_and_grub(c, "sid", "trixie")
    grub_files(c, "sid")
    grub_environment(c, saved_entry=f"gnulinux-advanced-{GRUB_UUID}>gnulinux-advanced-entry")
    grub_configuration(c, "sid", "${saved_entry}")
    grub_disk(c)


@case("grub-modules-13", "an image of Debian 13's grub-mkimage without shim, its modules from ext4", more=True)
def _(c):
    c.firmware("bookworm")
    grub_image(c, "trixie", ["ext2", "part_gpt", "search_fs_uuid", "tpm"])
    boot = grub_files(c, "trixie")
    c.put(c.parts.file("grub-tools-trixie", "usr/share/grub/unicode.pf2"), "grub/fonts/unicode.pf2", boot)
    grub_environment(c)
    grub_configuration(c, "trixie")
    grub_disk(c)


@case("grub-sid-bls", "an image of sid's grub-mkimage without shim: entries of the Boot Loader Specification as on Fedora CoreOS")
def _(c):
    c.firmware("trixie")
    grub_image(c, "sid", ["ext2", "part_gpt", "search_fs_uuid", "tpm"])
    boot = grub_files(c, "sid")
    ostree = "ostree/fedora-coreos-0123"
    c.put(boot + "/vmlinuz-6", ostree + "/vmlinuz-6", boot)
    c.put(boot + "/initrd.img", ostree + "/initramfs-6.img", boot)
    grub_environment(c, kernelopts="root=LABEL=root ro")
    c.text("grub/grub.cfg", "set timeout=1\nload_env -f /grub/grubenv\nblscfg\n", boot)
    for number in (1, 2, 10):
        text = (f"title Fedora CoreOS (ostree:{number})\nversion {number}\n"
                f"options $kernelopts ostree=/ostree/boot.1/fedora-coreos/0123/0 $nothing matrix=bls{number} {CONSOLE}\n"
                f"linux /{ostree}/vmlinuz-6\ninitrd /{ostree}/initramfs-6.img\n")
        c.text(f"loader/entries/ostree-{number}-fedora-coreos.conf", text, boot)
    grub_disk(c)
# --- the tests of this test -------------------------------------------------------------------------------------------------

def plain(c):
    by_loader(c, "trixie", "systemd-257", "systemd-257")
    c.text("loader/loader.conf", "# matrix flip-me-A\ntimeout 0\n")


@case("self-test-osrel", "a byte of .osrel changes after the prediction: PCR 4, 9 and 11 must see it",
      flip=("Boot matrix 257.13-A", {"4": "matrix.efi", "9": "Linux initrd", "11": ".osrel"}))
def _(c):
    c.firmware("trixie")
    c.loader("systemd-257")
    sections = [(n, b"ID=matrix\nPRETTY_NAME=\"Boot matrix 257.13-A\"\n" if n == ".osrel" else d)
                for n, d in c.sections("systemd-257", None, "matrix=flip")]
    c.uki("systemd-257", "EFI/Linux/matrix.efi", sections)


@case("self-test-loader-conf", "a byte of loader.conf changes after the prediction: PCR 5 must see it",
      flip=("# matrix flip-me-A", {"5": "loader.conf"}))
def _(c):
    plain(c)
