# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages of any suite and architecture, by an apt of their own.

Sources list, index files and dpkg status are private to a cache outside the tree; the system's apt
configuration only says which mirror it uses, and its keyring is what apt checks signatures with.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import subprocess

from . import Unavailable

UPDATE_TIMEOUT = 120
DOWNLOAD_TIMEOUT = 420
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def cache():
    """Where packages and what is made of them are kept, outside the tree."""
    given = os.environ.get("BPFW_VM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "/var/cache"
    return pathlib.Path(given or os.path.join(base, "bpfw-vm")).absolute()


@contextlib.contextmanager
def locked(directory):
    """One process at a time fills a directory of the cache."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / "lock", "w", encoding="ascii")
    except OSError as error:
        raise Unavailable(f"{directory}: {error.strerror} (BPFW_VM_CACHE names another)") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory


def require(*tools):
    """All of these commands, or Unavailable."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in tools if not shutil.which(tool, path=path)]
    if missing:
        raise Unavailable(f"no {', '.join(missing)} (scripts/install-deps vm)")


def mirror():
    """The mirror this machine takes its own Debian suite from."""
    given = os.environ.get("BPFW_VM_MIRROR")
    if given:
        return given
    codename = _os_release().get("VERSION_CODENAME", "")
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(CODENAME) $(REPO_URI)",
         "Created-By: Packages"], text=True, capture_output=True, check=False).stdout
    for line in listed.splitlines():
        release, name, uri = line.split()
        if codename in (release, name):
            return uri
    raise Unavailable("no Debian suite in apt's sources (BPFW_VM_MIRROR names a mirror)")


def _os_release():
    try:
        text = pathlib.Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return {}
    return {key: value.strip("\"'") for key, value in re.findall(r"^(\w+)=(.*)$", text, re.M)}


class Suite:
    """One suite for one architecture."""

    def __init__(self, name, architecture):
        self.name = name
        self.architecture = architecture
        self._state = cache() / "apt" / f"{name}-{architecture}"
        self._options = []

    def __str__(self):
        return f"{self.name} ({self.architecture})"

    def open(self):
        """Fetch the index. Everything below needs that."""
        require("apt-get", "dpkg-deb")
        for directory in "lists/partial", "archives/partial":
            (self._state / directory).mkdir(parents=True, exist_ok=True)
        (self._state / "status").touch()
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        sources = self._state / "sources.list"
        sources.write_text(f"deb {signed}{mirror()} {self.name} main\n", encoding="utf-8")
        self._options = [word for option in (
            f"Dir::Etc::sourcelist={sources}", "Dir::Etc::sourceparts=/dev/null",
            f"Dir::State::lists={self._state}/lists", f"Dir::State::status={self._state}/status",
            f"Dir::Cache::archives={self._state}/archives", "Dir::Cache::pkgcache=",
            "Dir::Cache::srcpkgcache=", f"APT::Architecture={self.architecture}",
            f"APT::Architectures={self.architecture}", "APT::Sandbox::User=root",
            "Acquire::Languages=none", "Acquire::Retries=2", "Acquire::http::Timeout=30",
            "Acquire::https::Timeout=30", "DPkg::Pre-Install-Pkgs=", "Debug::NoLocking=1",
        ) for word in ("-o", option)]
        self._apt("apt-get", "--error-on=any", "update", timeout=UPDATE_TIMEOUT)
        return self

    def _apt(self, tool, *words, timeout, cwd=None):
        try:
            done = subprocess.run([tool, *self._options, *words], text=True, cwd=cwd,
                                  capture_output=True, timeout=timeout, check=False,
                                  stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{self}: {tool} {words[0]} not done after {timeout} s") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise Unavailable(f"{self}: {tool} {' '.join(words[:2])}: {said[0] if said else '?'}")
        return done.stdout

    def names(self, prefix):
        return self._apt("apt-cache", "pkgnames", prefix, timeout=UPDATE_TIMEOUT).split()

    def depends(self, package):
        """Names of the packages that this one depends on, without alternatives."""
        shown = self._apt("apt-cache", "show", package, timeout=UPDATE_TIMEOUT)
        found = re.search(r"^Depends: (.*)$", shown, re.M)
        words = found.group(1).split(",") if found else []
        return [word.split()[0] for word in words if "|" not in word]

    def fetch(self, packages):
        """These packages' files alone; apt has checked them."""
        return self._download("download", packages)

    def fetch_with_dependencies(self, packages):
        return self._download("install", packages)

    def _download(self, how, packages):
        archives = self._state / "archives"
        for old in archives.glob("*.deb"):
            old.unlink()
        words = ["download", *packages] if how == "download" else [
            "install", "--yes", "--download-only", "--no-install-recommends", *packages]
        self._apt("apt-get", *words, timeout=DOWNLOAD_TIMEOUT, cwd=archives)
        return sorted(archives.glob("*.deb"))
