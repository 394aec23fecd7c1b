#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The Debian package: built, looked at, installed into a root of its own, removed and purged; the
systemd unit and the completion that are in it."""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "net")]

from netlab import Skip, equal, expect, main, test  # noqa: E402
from openwrt.router import busybox  # noqa: E402
from static_build import check_copyright, linked_libraries  # noqa: E402

ROOT = pathlib.Path(HERE).parent.parent
BINARY = ROOT / "build" / "bpfw"
UNIT = "usr/lib/systemd/system/bpfw.service"
COMPLETION = "usr/share/bash-completion/completions/bpfw"
CONFIG = "etc/bpfw/bpfw.conf"
FILES = {"usr/sbin/bpfw": 0o755, CONFIG: 0o644, UNIT: 0o644, COMPLETION: 0o644,
         "usr/share/man/man8/bpfw.8.gz": 0o644, "usr/share/doc/bpfw/changelog.gz": 0o644,
         "usr/share/doc/bpfw/copyright": 0o644}
EXPOSURE = 20  # tenths; docs/systemd.md says what systemd-analyze counts
TIMEOUT = 120


class Directory:
    """A scratch directory that goes with the test."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="bpfw-deb-"))

    def close(self):
        shutil.rmtree(self.path)


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed")


def run(*command, **how):
    return subprocess.run([str(word) for word in command], text=True, capture_output=True,
                          timeout=TIMEOUT, check=False, **how)


def succeed(*command, **how):
    done = run(*command, **how)
    expect(not done.returncode, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def scratch(context):
    return context.keep(Directory()).path


def package(context):
    """The path of a package that was just built."""
    need("dpkg-deb", "dpkg-shlibdeps")
    if not BINARY.exists():
        raise Skip("there is no build/bpfw")
    built = succeed(ROOT / "packaging" / "deb" / "build", scratch(context))
    return pathlib.Path(built.strip())


def unpacked(context):
    root = scratch(context) / "root"
    succeed("dpkg-deb", "-x", package(context), root)
    return root


# ---- The package ---------------------------------------------------------------------


@test()
def holds_the_files_with_their_modes(context):
    root = unpacked(context)
    seen = {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode)
            for path in root.rglob("*") if path.is_file()}
    equal(seen, FILES, "files and modes")
    listed = succeed("dpkg-deb", "-c", package(context))
    expect(all(" root/root " in line for line in listed.splitlines()), f"owners:\n{listed}")


@test()
def names_what_it_needs(context):
    fields = succeed("dpkg-deb", "-f", package(context))
    for word in ("Package: bpfw", "Version: ", "Architecture: ", "Depends: ", "libc6",
                 "libnetfilter-conntrack3"):
        expect(word in fields, f"{word!r} is missing:\n{fields}")
    succeed("dpkg", "--validate-version", succeed("dpkg-deb", "-f", package(context),
                                                  "Version").strip())


def copyright_of(package, root):
    succeed("dpkg-deb", "-x", package, root)
    return root / "usr/share/doc/bpfw/copyright"


@test()
def names_the_licenses_of_what_it_holds(context):
    """A static program (busybox stands in) holds libraries, and depends on none."""
    if not busybox():
        raise Skip("no statically linked busybox is installed")
    own = copyright_of(package(context), scratch(context) / "root").read_text()
    expect("GPL-2.0-only" in own, own)
    equal([name for name in linked_libraries() if name in own], [], "libraries of other packages")
    built = succeed(ROOT / "packaging" / "deb" / "build", scratch(context),
                    env={**os.environ, "BINARY": busybox()}).strip()
    equal(succeed("dpkg-deb", "-f", built, "Depends").strip(), "", "a static program depends on")
    path = copyright_of(built, scratch(context) / "root")
    expect(path.read_text().startswith(own), "bpfw's own license comes first")
    check_copyright(path)


@test()
def same_tree_same_bytes(context):
    first, second = package(context), package(context)
    equal(first.read_bytes() == second.read_bytes(), True, "two packages are the same")


def check_make_install(root, words, where):
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PREFIX", "DESTDIR")}
    make = ["make", "-C", ROOT, f"DESTDIR={root}", *words]
    succeed(*make, "install", env=environment)
    seen = {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode)
            for path in root.rglob("*") if path.is_file()}
    equal(seen, {f"{where}/sbin/bpfw": 0o755, f"{where}/share/man/man8/bpfw.8": 0o644}, "files")
    equal((root / where / "sbin/bpfw").read_bytes() == BINARY.read_bytes(), True,
          "the program is the one that was built")
    succeed(*make, "uninstall", env=environment)
    equal([str(path) for path in root.rglob("*") if path.is_file()], [], "what is left")


@test()
def make_install_and_uninstall(context):
    """The form for who packs it otherwise: into DESTDIR, below PREFIX."""
    if not BINARY.exists():
        raise Skip("there is no build/bpfw")
    check_make_install(scratch(context) / "root", [], "usr/local")
    check_make_install(scratch(context) / "root", ["PREFIX=/usr"], "usr")


class Root:
    """A root directory for dpkg, with a shell for the maintainer's scripts and a systemctl that
    writes down what it is asked for."""

    def __init__(self, path):
        self.path = path
        for directory in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", "bin", "usr/bin",
                          "run/systemd/system", "etc"):
            (path / directory).mkdir(parents=True)
        (path / "var/lib/dpkg/status").touch()
        shutil.copy(busybox(), path / "bin/busybox")
        for applet in ("sh", "cat", "rm"):
            (path / "bin" / applet).symlink_to("busybox")
        (path / "dev").mkdir()
        (path / "dev/null").touch()  # what the scripts write there goes as well into a file
        systemctl = path / "usr/bin/systemctl"
        systemctl.write_text("#!/bin/sh\necho \"$*\" >>/var/log/systemctl\n")
        systemctl.chmod(0o755)

    def dpkg(self, *words):
        """What systemctl was asked for meanwhile."""
        log = self.path / "var/log/systemctl"
        log.unlink(missing_ok=True)
        # The libraries that it depends on are not in this root.
        succeed("dpkg", f"--root={self.path}", "--force-depends", *words,
                env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        return log.read_text().splitlines() if log.exists() else []

    def files(self):
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*")
                if "var/" not in str(path.relative_to(self.path))}


@test()
def installs_upgrades_and_goes(context):
    need("dpkg")
    if os.geteuid():
        raise Skip("takes root: dpkg runs the package's scripts by chroot")
    if not busybox():
        raise Skip("no statically linked busybox is installed")
    built = package(context)
    root = Root(scratch(context) / "root")
    before = root.files()

    equal(root.dpkg("-i", built), ["daemon-reload", "try-restart bpfw.service"],
          "systemctl at the installation")
    for name, mode in FILES.items():
        found = (root.path / name).stat()
        equal((stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid), (mode, 0, 0), name)
    expect("bpfw " in succeed(root.path / "usr/sbin/bpfw", "--version"), "--version says nothing")

    (root.path / CONFIG).write_text("iface lan0\n")
    root.dpkg("-i", built)
    equal((root.path / CONFIG).read_text(), "iface lan0\n", "configuration after an upgrade")

    equal(root.dpkg("-r", "bpfw"), ["stop bpfw.service",
                                    "--quiet --no-reload disable bpfw.service", "daemon-reload"],
          "systemctl at the removal")
    equal(root.files() - before, {"etc/bpfw", CONFIG}, "what a removal leaves")
    root.dpkg("-P", "bpfw")
    equal(root.files() - before, set(), "what a purge leaves")


# ---- The unit ------------------------------------------------------------------------


@test()
def systemd_accepts_the_unit(context):
    need("systemd-analyze")
    root = unpacked(context)
    unit = (root / UNIT).read_text().replace("/usr/sbin/bpfw", str(root / "usr/sbin/bpfw"))
    # Whether the page is installed is not the unit's matter.
    unit = "".join(line for line in unit.splitlines(True) if "man:bpfw" not in line)
    (root / "bpfw.service").write_text(unit)
    done = run("systemd-analyze", "verify", root / "bpfw.service")
    equal((done.returncode, "bpfw.service" in done.stderr), (0, False),
          f"verdict of systemd-analyze verify:\n{done.stderr}")


@test()
def exposure_is_what_the_docs_say(context):
    need("systemd-analyze")
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager",
               unpacked(context) / UNIT)
    done = run(*command, f"--threshold={EXPOSURE}")
    if "offline" in done.stderr and "nrecognized" in done.stderr:
        raise Skip("systemd-analyze is too old for --offline")
    equal(done.returncode, 0, f"exposure above {EXPOSURE / 10}:\n{done.stdout}{done.stderr}")
    context.note(done.stdout.splitlines()[-1])


@test()
def configuration_is_accepted(context):
    """Also with every line that is a comment to try."""
    root = unpacked(context)
    config = root / CONFIG
    tried = [line[2:] for line in config.read_text().splitlines()
             if line.startswith("# ") and line.split()[1] in
             ("iface", "hook", "exclude", "exclude-mark", "only", "log-level")]
    expect(len(tried) >= 6, f"only {tried} are there to try")
    (root / "tried").write_text("\n".join(tried) + "\n")
    for path in config, root / "tried":
        done = run(root / "usr/sbin/bpfw", "--config", path, "--dry-run")
        expect(done.returncode in (0, 1), f"{path.name} is refused:\n{done.stderr}")


# ---- The completion ------------------------------------------------------------------

COMPLETE = """
source "$1"
shift
COMP_LINE=$1 COMP_POINT=${#1}
# The words as readline splits them: at blanks, and a colon is a word of its own
read -ra COMP_WORDS <<<"${COMP_LINE//:/ : }"
[[ $COMP_LINE == *[\\ :] ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_bpfw
printf '%s\\n' "${COMPREPLY[@]}"
"""

COMPLETIONS = {
    "command": ("BPFW st", {"stats", "status"}),
    "option": ("BPFW --exc", {"--exclude", "--exclude-mark"}),
    "option later": ("BPFW --iface lo --log", {"--log-level"}),
    "hook": ("BPFW --hook x", {"xdp", "xdpgeneric"}),
    "level": ("BPFW --log-level ", {"error", "warn", "info", "debug"}),
    "protocol": ("BPFW --only t", {"tcp"}),
    "interface": ("BPFW --iface l", {"lo"}),
    "second interface": ("BPFW --iface lo,l", {"lo,lo"}),
    "hook of an interface": ("BPFW --iface lo:t", {"tc"}),
    "hooks of an interface": ("BPFW --iface lo:", {"auto", "tc", "xdp", "xdpgeneric"}),
    "json": ("BPFW flows ", {"--json"}),
    "number": ("BPFW --max-flows ", {""}),
    "command of the filter": ("BPFW filter ", {"load", "show", "why", "zero", "flush", "log",
                                              "unload"}),
    "option of the filter": ("BPFW filter show --c", {"--check", "--counters"}),
    "hook of the filter": ("BPFW filter load - --hook ", {"tc", "xdp"}),
    "option of the block list": ("BPFW block add --f", {"--for"}),
}


@test(*COMPLETIONS)
def completes(context, what):
    need("bash", "unshare")
    if os.geteuid():
        raise Skip("takes root: a network namespace in which lo is the only interface")
    if not BINARY.exists():
        raise Skip("there is no build/bpfw")
    line, wanted = COMPLETIONS[what]
    script = ROOT / "packaging" / "completion" / "bpfw.bash"
    inside = 'mount -t sysfs sysfs /sys && exec bash -c "$0" bash "$@"'
    said = succeed("unshare", "--net", "--mount", "bash", "-c", inside, COMPLETE, script,
                   line.replace("BPFW", str(BINARY)))
    equal(set(said.splitlines()), wanted, f"completions of {line!r}")


if __name__ == "__main__":
    main()
