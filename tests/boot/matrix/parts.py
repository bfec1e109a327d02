"""The boot components: fetched from several Debian suites, unpacked side by side, nothing is installed.

Versions are read from the archive's lists. What has vanished from the archive is noted with its name; the cases that need
it are reported as skipped.
"""
import glob, hashlib, os, re, subprocess

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "forky", "sid"]
SECURITY = ["bookworm-security", "trixie-security"]

# name: (suite, package, file in it). A kernel's package is named by the meta package of its suite.
BOOT = "usr/lib/systemd/boot/efi/"
GRUB = "usr/lib/grub/x86_64-efi"
PARTS = {
    "systemd-252": ("bookworm", "systemd-boot-efi", BOOT),
    "systemd-252-security": ("bookworm-security", "systemd-boot-efi", BOOT),
    "systemd-254": ("bookworm-backports", "systemd-boot-efi", BOOT),
    "systemd-257": ("trixie", "systemd-boot-efi", BOOT),
    "systemd-testing": ("forky", "systemd-boot-efi", BOOT),
    "systemd-sid": ("sid", "systemd-boot-efi", BOOT),
    "kernel-6.1": ("bookworm", "linux-image-cloud-amd64", None),
    "kernel-6.1-security": ("bookworm-security", "linux-image-cloud-amd64", None),
    "kernel-6.12": ("trixie", "linux-image-cloud-amd64", None),
    "kernel-6.12-bookworm": ("bookworm-backports", "linux-image-cloud-amd64", None),
    "kernel-backports": ("trixie-backports", "linux-image-cloud-amd64", None),
    "kernel-sid": ("sid", "linux-image-cloud-amd64", None),
    "ovmf-bookworm": ("bookworm", "ovmf", "usr/share/OVMF/"),
    "ovmf-trixie": ("trixie", "ovmf", "usr/share/OVMF/"),
    "ovmf-sid": ("sid", "ovmf-generic", "usr/share/OVMF/"),
    "shim-bullseye": ("bullseye", "shim-signed", "usr/lib/shim/"),
    "shim-bookworm": ("bookworm", "shim-signed", "usr/lib/shim/"),
    "shim-trixie": ("trixie", "shim-signed", "usr/lib/shim/"),
    "sdboot-signed": ("trixie", "systemd-boot-efi-amd64-signed", BOOT),
    "grub-signed-bookworm": ("bookworm", "grub-efi-amd64-signed", GRUB + "-signed/"),
    "grub-signed-trixie": ("trixie", "grub-efi-amd64-signed", GRUB + "-signed/"),
    "grub-signed-sid": ("sid", "grub-efi-amd64-signed", GRUB + "-signed/"),
    "grub-modules-bookworm": ("bookworm", "grub-efi-amd64-bin", GRUB + "/"),
    "grub-modules-trixie": ("trixie", "grub-efi-amd64-bin", GRUB + "/"),
    "grub-modules-sid": ("sid", "grub-efi-amd64-bin", GRUB + "/"),
    "grub-tools-trixie": ("trixie", "grub-common", "usr/bin/"),
    "grub-tools-sid": ("sid", "grub2-common", "usr/bin/"),
    "refind": ("trixie", "refind", "usr/share/refind/refind/"),
}


class Missing(Exception):
    """A component that the archive no longer has."""


class Parts:
    """The unpacked components below WORK/parts."""

    def __init__(self, work):
        self.dir = os.path.join(work, "parts")
        self.used = {}

    def folder(self, name):
        """Where a component's files are. Raises Missing."""
        here = os.path.join(self.dir, name)
        found = glob.glob(here + "/*_*/")
        if not found:
            raise Missing(f"{name} ({PARTS[name][1]} of {PARTS[name][0]})")
        return found[0]

    def version(self, name):
        """Package version, as the folder is named."""
        return os.path.basename(self.folder(name).rstrip("/")).split("_")[1].replace("%3a", ":")

    def major(self, name):
        """systemd's major version."""
        return int(re.match(r"\d+", self.version(name)).group())

    def file(self, name, relative):
        """One file of a component; remembered as an input of the case that asks."""
        found = glob.glob(os.path.join(self.folder(name), relative), recursive=True)
        if len(found) != 1:
            raise Missing(f"{relative} of {name}: {len(found)} files")
        self.used[f"{name}: {os.path.basename(found[0])}"] = {"version": self.version(name), "sha256": sha256(found[0])}
        return found[0]

    def boot(self, name, file):
        return self.file(name, BOOT + file)

    def kernel(self, name):
        return self.file(name, "**/vmlinuz*")

    def fetch(self, log=print):
        """Downloads what is not there yet; True unless nothing could be reached."""
        apt = Apt(self.dir)
        wanted = [name for name in PARTS if not glob.glob(os.path.join(self.dir, name, "*_*/"))]
        if not wanted:
            return True
        apt.update(log)
        for name in wanted:
            suite, package, _ = PARTS[name]
            try:
                if name.startswith("kernel-"):
                    package, version = apt.kernel(suite, package)
                else:
                    version = apt.version(package, suite)
                apt.unpack(package, version, os.path.join(self.dir, name))
                log(f"fetched {name}: {package} {version} of {suite}")
            except Missing as error:
                log(f"not fetched {name}: {error}")
        return any(glob.glob(os.path.join(self.dir, name, "*_*/")) for name in PARTS)


class Apt:
    """apt with lists of its own: nothing of the machine's configuration changes."""

    def __init__(self, folder):
        self.dir = os.path.join(folder, "apt")
        os.makedirs(self.dir + "/lists/partial", exist_ok=True)
        os.makedirs(self.dir + "/debs", exist_ok=True)
        site = self.site("Label: Debian") or "http://deb.debian.org/debian"
        security = self.site("Label: Debian-Security") or "http://deb.debian.org/debian-security"
        with open(self.dir + "/sources.list", "w") as out:
            for suite in SUITES + SECURITY:
                out.write(f"deb [signed-by={KEYRING}] {security if suite in SECURITY else site} {suite} main\n")
        self.options = [f"-oDir::Etc::SourceList={self.dir}/sources.list", "-oDir::Etc::SourceParts=/nonexistent",
                        f"-oDir::State::Lists={self.dir}/lists",
                        f"-oDir::Cache={self.dir}", "-oAcquire::Check-Valid-Until=false", "-oAPT::Sandbox::User=root"]

    @staticmethod
    def site(label):
        """The archive that this machine already uses."""
        out = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Origin: Debian", label],
                             capture_output=True, text=True).stdout.split()
        return out[0] if out else None

    def update(self, log):
        # A suite that has vanished is an error of apt-get although it got the others.
        done = subprocess.run(["apt-get", "-q", *self.options, "update"], capture_output=True, text=True)
        for line in done.stderr.splitlines():
            log(f"apt-get update: {line}")

    def version(self, package, suite):
        out = subprocess.run(["apt-cache", *self.options, "madison", package], capture_output=True, text=True).stdout
        for line in out.splitlines():
            name, version, where = (field.strip() for field in line.split("|"))
            if name == package and f" {suite}/" in where:
                return version
        raise Missing(f"{package} is not in {suite}")

    def kernel(self, suite, meta):
        """Package with the kernel's image, and its version, that the meta package depends on."""
        version = self.version(meta, suite)
        depends = self.field(meta, version, "Depends")
        found = re.search(r"\b(linux-image-[0-9][^ ,]*) \(= ([^)]*)\)|\b(linux-image-[0-9][^ ,]*)", depends)
        if not found:
            raise Missing(f"{meta} {version} names no image: {depends}")
        package, version = found.group(1) or found.group(3), found.group(2) or version
        # From 7.x on the image is in linux-binary-*.
        binary = package.replace("linux-image-", "linux-binary-")
        return (binary, version) if self.field(binary, version, "Version") else (package, version)

    def field(self, package, version, name):
        out = subprocess.run(["apt-cache", *self.options, "show", f"{package}={version}"], capture_output=True, text=True).stdout
        found = re.search(rf"^{name}: (.*)$", out, re.M)
        return found.group(1) if found else ""

    def unpack(self, package, version, target):
        done = subprocess.run(["apt-get", "-q", *self.options, "download", f"{package}={version}"],
                              cwd=self.dir + "/debs", capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"{package} {version}: {done.stderr.strip().splitlines()[-1:]}")
        name = f"{package}_{version.replace(':', '%3a')}_"
        deb = [d for d in glob.glob(self.dir + "/debs/*.deb") if os.path.basename(d).startswith(name)][0]
        into = os.path.join(target, os.path.basename(deb)[:-4])
        os.makedirs(target, exist_ok=True)
        subprocess.run(["dpkg", "-x", deb, into + ".part"], check=True)
        os.rename(into + ".part", into)
        os.unlink(deb)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
