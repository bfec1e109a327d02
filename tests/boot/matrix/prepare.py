"""What the cases share: components, keys, a Python environment, chroots with tools, the binary."""
import os, shutil, subprocess, sys, threading

HERE = os.path.dirname(os.path.abspath(__file__))
BOOT = os.path.dirname(HERE)
TOP = os.path.dirname(os.path.dirname(BOOT))
TOOLS = """systemd systemd-ukify sbsigntool openssl binutils cpio zstd kmod mtools dosfstools python3-cryptography mkosi apt
e2fsprogs squashfs-tools erofs-utils cryptsetup-bin fdisk systemd-repart systemd-boot debian-archive-keyring""".split()
# What a case may lack: it is skipped then.
PROGRAMS = {"sbsign", "mksquashfs", "virt-fw-vars", "veritysetup", "unshare"}
CHROOTS = {"trixie": [], "sid": ["systemd-tpm", "systemd-boot-efi"]}


def everything(work, components, functions):
    """What is there already stays. A chroot that can't be made is only reported: its cases are skipped."""
    binary()
    if not components.fetch(say):
        raise SystemExit("matrix: no component could be fetched: is there a network, and a Debian archive?")
    # Another set of keys would make every boot new.
    if not os.path.exists(os.path.join(work, "keys/pcr.pub")):
        subprocess.run([os.path.join(BOOT, "keys.sh"), os.path.join(work, "keys")], check=True, stdout=subprocess.DEVNULL)
    environment(os.path.join(work, "venv"))
    makers = [threading.Thread(target=chroot, args=(work, suite)) for suite in sorted({f.chroot for f in functions if f.chroot})]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()


def binary():
    """PREMEASURE names the binary under test; without it cargo builds one."""
    if "PREMEASURE" not in os.environ:
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--release"], cwd=TOP, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(TOP, "target"))
        os.environ["PREMEASURE"] = os.path.join(target, "release/premeasure")


def environment(folder):
    """virt-firmware writes OVMF's variable stores."""
    if os.path.exists(os.path.join(folder, "bin/virt-fw-vars")):
        return
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([os.path.join(folder, "bin/pip"), "install", "-q", "virt-firmware"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"no virt-firmware, so no case with variables of its own: {error}")


def chroot(work, suite):
    folder = os.path.join(work, "chroot", suite)
    if os.path.exists(os.path.join(folder, "ready")):
        return
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        return say(f"no chroot of {suite}: that takes root and debootstrap")
    log = os.path.join(work, f"chroot-{suite}.log")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with open(log, "w") as out:
        done = subprocess.run([os.path.join(BOOT, "mkchroot.sh"), suite, folder, *TOOLS, *CHROOTS[suite]], stdout=out, stderr=out)
    if done.returncode:
        return say(f"no chroot of {suite}: see {log}")
    open(os.path.join(folder, "ready"), "w").close()


def say(text):
    print(f"matrix: {text}", file=sys.stderr)
