#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Wrong usage and bad input: each its own message on stderr, its exit status, nothing attached."""

import json
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "net"))

from netlab import HOOKS, Lab, Skip, attachments, binary, equal, expect, main, test  # noqa: E402
from netlab import wait_until  # noqa: E402
from netlab.bpfw import SANITIZER, environment  # noqa: E402

FAILURE, USAGE = 1, 2


def call(lab, *words, before=(), **env):
    """Run bpfw in the router's namespace until it ends."""
    command = ["nsenter", f"--net={lab.router.path}", *before, binary(), *words]
    done = lab.router.run(*command, check=False, env=environment(**env))
    expect(not SANITIZER.search(done.stderr), f"sanitizer report:\n{done.stderr}")
    return done


def rejects(context, words, status, *named, lab=None, **how):
    """bpfw refuses: this exit status, one of its own messages, every one of the words named."""
    lab = lab or context.keep(Lab())
    before = attachments(lab.router)
    done = call(lab, *words, **how)
    said = f"exit {done.returncode}, stdout {done.stdout!r}, stderr {done.stderr!r}"
    equal(done.returncode, status, said)
    expect(done.stderr.strip(), f"says nothing: {said}")
    equal(done.stdout, "", f"a message belongs on stderr; {said}")
    expect("ready" not in done.stderr, said)
    expect(not re.search(r"[^\n -~]", done.stderr), f"speaks to the terminal: {said}")
    for name in named:
        expect(re.search(name, done.stderr, re.IGNORECASE), f"{name!r} is not named: {said}")
    equal(attachments(lab.router), before, "attached programs")
    context.note(done.stderr.strip())
    return done


@test("help", "version")
def informs(context, option):
    done = call(context.keep(Lab()), f"--{option}")
    equal(done.returncode, 0, f"exit status of --{option}")
    equal(done.stderr, "", "stderr")
    wanted = (["--hook", "--iface", "--max-flows", "--tcp-idle", "--udp-idle", "--log-level",
               "--cpus", "--exclude", "--exclude-mark", "--only", "--rxvlan-off", "--dry-run", "--json",
               "--help", "--version", "flows", "stats", "status"] if option == "help" else ["bpfw"])
    for word in wanted:
        expect(word in done.stdout, f"{word} is missing in:\n{done.stdout}")
    expect(option == "help" or re.match(r"bpfw \S*\d\S*\n", done.stdout),
           f"no version: {done.stdout}")


@test("filter", "filter load", "filter why", "filter log", "set", "set add", "block load")
def informs_about_commands(context, command):
    done = call(context.keep(Lab()), *command.split(), "--help")
    equal((done.returncode, done.stderr), (0, ""), "exit status and stderr")
    expect(done.stdout.startswith(f"Usage: bpfw {command.split()[0]} "), f"says: {done.stdout}")


WRITES = {
    "help": ["--help"],
    "help of a command": ["filter", "--help"],
    "sets": ["set", "list", "--json"],
    "dry run": ["--dry-run", "--iface", "lan0"],
}


@test(*WRITES)
def standard_output_is_full(context, name):
    """Who keeps what a command prints has to know that it is not there."""
    done = call(context.keep(Lab()), *WRITES[name],
                before=["sh", "-c", 'exec "$@" > /dev/full', "sh"])
    equal(done.returncode, FAILURE, f"exit status; {done.stderr}")
    expect("No space left" in done.stderr, f"says: {done.stderr}")


USAGE_ERRORS = {
    "no arguments": ([], []),
    "no interface": (["--hook", "tc"], ["--iface"]),
    "unknown option": (["--hook", "tc", "--iface", "lan0", "--frobnicate"], ["frobnicate"]),
    "unknown hook": (["--hook", "nfqueue", "--iface", "lan0"], ["nfqueue"]),
    "unknown hook of an interface": (["--iface", "lan0:nfqueue"], ["nfqueue"]),
    "unknown command": (["frobnicate"], ["frobnicate"]),
    "option without value": (["--iface"], ["--iface"]),
    "empty interface": (["--iface", ""], ["--iface"]),
    "interface named twice": (["--iface", "lan0", "--iface", "lan0"], ["lan0", "twice"]),
    "interface twice in a list": (["--iface", "lan0,wan0,lan0"], ["lan0", "twice"]),
    "max-flows 0": (["--iface", "lan0", "--max-flows", "0"], ["max-flows"]),
    "max-flows negative": (["--iface", "lan0", "--max-flows", "-5"], ["max-flows"]),
    "max-flows no number": (["--iface", "lan0", "--max-flows", "12x"], ["max-flows", "12x"]),
    "max-flows too large": (["--iface", "lan0", "--max-flows", "99999999999999"], ["max-flows"]),
    "tcp-idle 0": (["--iface", "lan0", "--tcp-idle", "0"], ["tcp-idle"]),
    "udp-idle no number": (["--iface", "lan0", "--udp-idle", "soon"], ["udp-idle", "soon"]),
    "unknown log level": (["--iface", "lan0", "--log-level", "loud"], ["loud"]),
    "auto and another": (["--iface", "auto", "--iface", "lan0"], ["auto", "no other"]),
    "cpus no list": (["--iface", "lan0", "--cpus", "all"], ["--cpus", "all"]),
    "cpus backwards": (["--iface", "lan0", "--cpus", "3-1"], ["--cpus", "3-1"]),
    "cpus twice": (["--iface", "lan0", "--cpus", "0-2,1"], ["--cpus", "twice"]),
    "cpus at tc": (["--hook", "tc", "--iface", "lan0", "--cpus", "0"], ["--cpus", "tc", "RPS"]),
    "cpus at xdpgeneric": (["--iface", "lan0:xdpgeneric,wan0:xdp", "--cpus", "0"],
                           ["--cpus", "xdpgeneric"]),
    "exclude no prefix": (["--iface", "lan0", "--exclude", "lan0"], ["--exclude", "lan0"]),
    "exclude too long": (["--iface", "lan0", "--exclude", "10.0.0.0/33"], ["10.0.0.0/33"]),
    "exclude-mark no number": (["--iface", "lan0", "--exclude-mark", "blue"], ["mark", "blue"]),
    "exclude-mark outside mask": (["--iface", "lan0", "--exclude-mark", "2/1"], ["mask", "2/1"]),
    "exclude-mark mask 0": (["--iface", "lan0", "--exclude-mark", "0/0"], ["mask", "everything"]),
    "only what": (["--iface", "lan0", "--only", "sctp"], ["--only", "sctp", "tcp or udp"]),
    "json without dry-run": (["--iface", "lan0", "--json"], ["--json", "--dry-run"]),
    "dry-run without interface": (["--dry-run"], ["--iface"]),
    "dry-run with a value": (["--iface", "lan0", "--dry-run=1"], ["dry-run"]),
    "interface name too long": (["--iface", "an-interface-name-too-long"], ["an-interface-name"]),
}


@test(*USAGE_ERRORS)
def usage_error(context, name):
    words, named = USAGE_ERRORS[name]
    rejects(context, words, USAGE, *named)


FILTER_ERRORS = {
    "no command": ([], ["load"]),
    "unknown command": (["save"], ["load"]),
    "no file": (["load"], ["file"]),
    "two files": (["load", "a", "b"], ["'b'"]),
    "unknown option": (["load", "-", "--colour"], ["colour"]),
    "unknown hook": (["load", "-", "--hook", "xdpgeneric"], ["xdpgeneric", "xdp or tc"]),
    "hook of no interface": (["load", "-", "--hook", "xdp"], ["--hook", "--iface"]),
    "argument of another command": (["unload", "rules"], ["'rules'"]),
    "why of nothing": (["why"], ["--in"]),
    "why without addresses": (["why", "--in", "lo", "--proto", "tcp"], ["--src", "--dst"]),
    "why of two families": (["why", "--in", "lo", "--src", "::1", "--dst", "192.0.2.1"],
                            ["192.0.2.1", "family"]),
    "why of no address": (["why", "--in", "lo", "--src", "router"], ["router"]),
    "why of no flags": (["why", "--in", "lo", "--tcp-flags", "SIN"], ["SIN"]),
    "why with too much": (["why", "--in", "lo", "--packet", "00", "--ttl", "1"], ["--packet"]),
    "why with no type": (["why", "--in", "lo", "--proto", "icmp", "--src", "::1", "--dst", "::2",
                          "--icmp-type", "ping6"], ["ping6"]),
    "json of another command": (["zero", "--json"], ["zero", "--json"]),
}


@test(*FILTER_ERRORS)
def filter_usage_error(context, name):
    words, named = FILTER_ERRORS[name]
    rejects(context, ["filter", *words], USAGE, *named)


SET_ERRORS = {
    "no command": (["set"], ["command is missing"]),
    "unknown command": (["set", "save"], ["no such command"]),
    "no file": (["set", "load"], ["too few"]),
    "no entry": (["set", "add", "name"], ["too few"]),
    "unknown option": (["set", "list", "--colour"], ["--colour"]),
    "no command of block": (["block"], ["command is missing", "bpfw block"]),
    "no prefix": (["block", "add"], ["too few"]),
    "no duration": (["block", "add", "192.0.2.1", "--for", "ever"], ["duration", "1h30m"]),
    "duration of a set": (["set", "add", "name", "192.0.2.1", "--for", "1h"],
                          ["set add", "--for"]),
    "comment of another command": (["block", "load", "-", "--comment=x"], ["block load", "--comment"]),
    "json of another command": (["set", "destroy", "name", "--json"], ["set destroy", "--json"]),
    "no value": (["block", "add", "192.0.2.1", "--for"], ["--for", "value"]),
}


@test(*SET_ERRORS)
def set_usage_error(context, name):
    words, named = SET_ERRORS[name]
    rejects(context, words, USAGE, *named)


SET_REFUSALS = {
    "no such set": (["set", "add", "nosuch", "192.0.2.1"], ["there are no sets"]),
    "file is missing": (["set", "load", "no-such.sets"], ["no-such.sets", "No such file"]),
    "name for terminals": (["set", "load", "no\x1b]0;such\a"], [r"no\?\]0;such\?"]),
    "file is a directory": (["set", "load", "/"], ["cannot read /: Is a directory"]),
    "not an address": (["block", "add", "gateway"], ["gateway"]),
    "prefix too long": (["block", "add", "192.0.2.0/33"], ["192.0.2.0/33"]),
}


@test(*SET_REFUSALS)
def set_refusal(context, name):
    words, named = SET_REFUSALS[name]
    rejects(context, words, FAILURE, *named)


@test("show", "zero", "flush", "log", "unload")
def no_filter_is_loaded(context, command):
    rejects(context, ["filter", command], FAILURE, "no filter")


def own_bpffs(options):
    """The machine's may have any mode."""
    return ["unshare", "--mount", "sh", "-c",
            f'mount -t bpf -o {options} bpffs /sys/fs/bpf && exec "$@"', "sh"]


@test("show", "why", "log")
def filter_takes_root(context, command):
    """Who may not look is not told that nothing is in force."""
    if not shutil.which(AS_NOBODY[0]):
        raise Skip(f"{AS_NOBODY[0]} is not installed")
    words = ["--in", "lo", "--packet", "00"] if command == "why" else []
    rejects(context, ["filter", command, *words], FAILURE, "Permission denied; it takes root",
            before=[*own_bpffs("mode=0700"), *AS_NOBODY])


@test()
def filter_file_is_missing(context):
    rejects(context, ["filter", "load", "no-such.rules"], FAILURE, "no-such.rules",
            "No such file")


@test()
def interfaces_cannot_be_listed(context):
    """Rules that name interfaces would match nothing, if the load went on without."""
    lab = context.keep(Lab())
    with tempfile.NamedTemporaryFile("w", suffix=".rules") as rules:
        rules.write("*filter\n-A INPUT -i lan0 -j DROP\nCOMMIT\n")
        rules.flush()
        rejects(context, ["filter", "load", rules.name, "--check"], FAILURE,
                "cannot list the interfaces: Too many open files", lab=lab,
                before=trace(lab, "inject=socket:error=EMFILE:when=1"),
                ASAN_OPTIONS="detect_leaks=0")


@test(*HOOKS)
def unknown_interface(context, hook):
    rejects(context, ["--hook", hook, "--iface", "nosuch0"], FAILURE, "nosuch0")


@test("daemon", "dry-run")
def cpu_is_not_there(context, what):
    words = ["--hook", "xdp", "--iface", "lan0,wan0", "--cpus", "0,8000"]
    if what == "daemon":
        rejects(context, words, FAILURE, "--cpus", "CPU 8000", "online")
        return
    done = call(context.keep(Lab()), *words, "--dry-run")
    equal(done.returncode, FAILURE, f"exit status: {done.stderr}")
    expect("CPU 8000" in done.stderr, done.stderr)


@test(*HOOKS)
def every_interface_is_unknown(context, hook):
    """Each is named, so that the user sees all the typing errors at once."""
    rejects(context, ["--hook", hook, "--iface", "nosuch0,nosuch1"], FAILURE, "nosuch0", "nosuch1",
            "no such interface")


def starts_without(context, lab, hook, missing):
    """bpfw runs on lan0, and says why it does not on the other one."""
    bpfw = context.running(lab, hook, interfaces=("lan0", missing))
    equal(sorted({device for device, _, _ in attachments(lab.router)}), ["lan0"], "devices")
    expect(bpfw.logged(rf"^bpfw: warning: interface '{missing}': "), f"says:\n{bpfw.log}")
    expect("error" not in bpfw.log, f"says:\n{bpfw.log}")
    rows = json.loads(call(lab, "status", "--json").stdout)["plan"]
    equal([row["interface"] for row in rows], ["lan0", missing], "rows")
    equal((rows[1]["port"], rows[1]["hook"]), (None, None), f"port and hook of {missing}")
    return rows[1]


@test(*HOOKS)
def second_interface_is_unknown(context, hook):
    """It is waited for."""
    row = starts_without(context, context.keep(Lab()), hook, "nosuch0")
    equal((row["mode"], row["note"]), ("not attached", "does not exist yet"), "mode and note")


@test(*HOOKS)
def loopback(context, hook):
    rejects(context, ["--hook", hook, "--iface", "lo"], FAILURE, r"\blo\b", "loopback")
    row = starts_without(context, context.keep(Lab()), hook, "lo")
    equal(row["mode"], "left out", "mode")
    expect("loopback" in row["note"], f"note: {row}")


def without(*capabilities):
    """A command that drops capabilities before it runs the rest."""
    if not shutil.which("setpriv"):
        raise Skip("setpriv is not installed")
    dropped = ",".join(f"-{name}" for name in capabilities)
    return ["setpriv", "--bounding-set", dropped, "--inh-caps", dropped]


MISSING = {
    "CAP_NET_ADMIN": (["net_admin"], ["CAP_NET_ADMIN"]),
    # CAP_SYS_ADMIN stands in for CAP_BPF, so both have to go.
    "CAP_BPF": (["bpf", "sys_admin"], ["CAP_BPF"]),
    "all": (["bpf", "sys_admin", "net_admin", "perfmon"], ["CAP_"]),
}


@test(*[(name, hook) for name in MISSING for hook in ("tc", "xdp")])
def missing_capability(context, name, hook):
    capabilities, named = MISSING[name]
    rejects(context, ["--hook", hook, "--iface", "lan0"], FAILURE, *named,
            before=without(*capabilities))


@test(*HOOKS, "auto")
def dry_run(context, hook):
    """The plan on stdout and status 0, in both forms; nothing is attached."""
    lab = context.keep(Lab())
    words = ["--hook", hook, "--iface", "lan0,lo", "--dry-run"]
    text, shown = call(lab, *words), call(lab, *words, "--json")
    for done in (text, shown):
        equal((done.returncode, done.stderr), (0, ""), f"bpfw --dry-run: {done.stdout}")
    equal(attachments(lab.router), [], "attached programs")
    lines = text.stdout.splitlines()
    equal(lines[0].split(), ["INTERFACE", "PATH", "HOOK", "MODE", "NOTE"], "head of the table")
    equal(len(lines), 3, "lines")
    mode = "xdp" if hook == "auto" else hook
    wanted = [
        {"interface": "lan0", "path": ["lan0"], "port": "lan0",
         "hook": "tc" if hook == "tc" else "xdp", "mode": mode, "note": ""},
        {"interface": "lo", "path": ["lo"], "port": None, "hook": None, "mode": "left out",
         "note": "the loopback forwards nothing"}]
    equal(json.loads(shown.stdout), {"plan": wanted}, "plan")
    for line, row in zip(lines[1:], wanted):
        equal(re.split(r"  +", line),
              [word for word in (row["interface"], row["path"][0], row["hook"] or "-", row["mode"],
                                 row["note"]) if word], "line of the table")


def dry_run_fails(context, words, *named):
    """What could not be started is shown as far as it goes; the status is that of the start."""
    lab = context.keep(Lab())
    lab.set_forwarding(0)
    done = call(lab, *words, "--dry-run", "--json")
    equal(done.returncode, FAILURE, f"exit status; {done.stdout}{done.stderr}")
    for name in named:
        expect(name in done.stderr, f"{name!r} is not named: {done.stderr!r}")
    return json.loads(done.stdout)["plan"]


@test()
def dry_run_without_a_port(context):
    rows = dry_run_fails(context, ["--iface", "nosuch0"], "nosuch0", "no such interface")
    equal([row["note"] for row in rows], ["does not exist yet"], "notes")
    rows = dry_run_fails(context, ["--iface", "lo"], "loopback")
    equal([row["mode"] for row in rows], ["left out"], "modes")
    rows = dry_run_fails(context, ["--iface", "auto"], "--iface auto", "ip_forward")
    equal({row["mode"] for row in rows}, {"left out"}, f"modes of {rows}")


@test()
def dry_run_without_privileges(context):
    """It only looks."""
    lab = context.keep(Lab())
    done = call(lab, "--iface", "lan0", "--dry-run",
                before=without("bpf", "sys_admin", "net_admin", "perfmon", "net_raw"))
    equal((done.returncode, done.stderr), (0, ""), f"bpfw --dry-run: {done.stdout}")
    expect(re.search(r"^lan0 +lan0 +xdp +xdp$", done.stdout, re.MULTILINE), done.stdout)


class File:
    """A configuration file with one interface, of this owner and mode."""

    def __init__(self, mode=0o644, owner=0, name="bpfw.conf"):
        self._directory = tempfile.TemporaryDirectory(prefix="bpfw-config-")
        os.chmod(self._directory.name, 0o755)
        self.path = os.path.join(self._directory.name, name)
        with open(self.path, "w", encoding="ascii") as file:
            file.write("iface lan0\n")
        os.chown(self.path, owner, -1)
        os.chmod(self.path, mode)

    def close(self):
        self._directory.cleanup()


NOBODY, SOMEBODY = 65534, 65533
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
TRUSTED = {
    "of root": (0o644, 0, ()),
    "read by root alone": (0o400, 0, ()),
    "of root, read by another": (0o644, 0, AS_NOBODY),
    "of the effective user": (0o600, NOBODY, AS_NOBODY),
}
NOT_TRUSTED = {
    "group writes": (0o664, 0, (), [r"mode 0664", "chmod go-w"]),
    "others write": (0o602, 0, (), [r"mode 0602", "chmod go-w"]),
    "of another user": (0o644, NOBODY, (), [f"user {NOBODY}", "user 0", "chown"]),
    "of a third user": (0o644, SOMEBODY, AS_NOBODY, [f"user {SOMEBODY}", f"user {NOBODY}"]),
    "of the effective user, group writes": (0o660, NOBODY, AS_NOBODY, ["mode 0660"]),
}


def try_config(context, path, before=(), words=()):
    if before and not shutil.which(before[0]):
        raise Skip(f"{before[0]} is not installed")
    return call(context.keep(Lab()), "--config", path, "--dry-run", *words, before=before)


@test(*TRUSTED)
def config_is_read(context, name):
    mode, owner, before = TRUSTED[name]
    done = try_config(context, context.keep(File(mode, owner)).path, before)
    equal((done.returncode, done.stderr), (0, ""), f"bpfw --dry-run: {done.stdout}")


@test(*NOT_TRUSTED, "by a link")
def config_is_refused(context, name):
    """Whoever can write to it could choose what is offloaded."""
    link = name == "by a link"
    mode, owner, before, named = NOT_TRUSTED["group writes" if link else name]
    path = context.keep(File(mode, owner)).path
    if link:
        os.symlink(path, f"{path}.link")
        path += ".link"
    done = try_config(context, path, before)
    equal((done.returncode, done.stdout), (USAGE, ""), f"status and stdout; {done.stderr}")
    for word in (path, "refused", *named):
        expect(word in done.stderr, f"{word!r} is not named: {done.stderr}")


def make_pipe(context, mode, owner):
    path = context.keep(File()).path + ".pipe"
    os.mkfifo(path)
    os.chmod(path, mode)
    os.chown(path, owner, -1)
    return path


@test("0600 0", "0666 0", "0600 65534")
def config_from_standard_input(context, pipe):
    """It is the choice of who starts bpfw, whoever owns it."""
    mode, owner = pipe.split()
    script = (f'echo "iface lan0" | {{ chmod {mode} /dev/stdin && chown {owner} /dev/stdin && '
              'exec "$@"; }')
    done = try_config(context, "/dev/stdin", ("bash", "-c", script, "bash"))
    equal((done.returncode, done.stderr), (0, ""), f"bpfw --dry-run: {done.stdout}")


@test()
def config_from_a_regular_standard_input(context):
    """Such a file is read again at SIGHUP, when its writers may have written something else."""
    path = context.keep(File(0o664)).path
    script = 'file=$1; shift; exec "$@" <"$file"'
    done = try_config(context, "/dev/stdin", ("bash", "-c", script, "bash", path))
    equal(done.returncode, USAGE, "exit status")
    expect("mode 0664" in done.stderr, done.stderr)


@test()
def config_from_a_named_pipe(context):
    for mode, owner, said in ((0o600, 0, None), (0o622, 0, "mode 0622"),
                              (0o600, NOBODY, f"user {NOBODY}")):
        path = make_pipe(context, mode, owner)
        script = 'pipe=$1; shift; echo "iface lan0" >"$pipe" & exec "$@" </dev/null'
        done = try_config(context, path, ("timeout", "30", "bash", "-c", script, "bash", path))
        equal(done.returncode, USAGE if said else 0, f"exit status; {done.stderr}")
        expect(said is None or said in done.stderr, done.stderr)


@test(*[(path, stdin) for path in ("/", "/dev/null") for stdin in ("&-", "/dev/zero")])
def config_is_no_file(context, path, stdin):
    """With standard input closed, the file gets its number."""
    script = f'exec "$@" <{stdin}'
    done = try_config(context, path, ("sh", "-c", script, "sh"), ("--iface", "lan0"))
    equal((done.returncode, done.stdout), (USAGE, ""), f"status and stdout; {done.stderr}")
    expect(f"'{path}' is neither a regular file" in done.stderr, done.stderr)


@test("flows", "stats", "status")
def nothing_runs_here(context, command):
    """A question to an instance that is not there is a failure with a reason."""
    rejects(context, [command], FAILURE, "bpfw")
    rejects(context, [command, "--json"], FAILURE, "bpfw")
    rejects(context, [command, "--frobnicate"], USAGE, "frobnicate")


@test("flows", "stats", "status")
def an_instance_that_cannot_be_read(context, command):
    """Nothing on stdout that a script might take for an answer."""
    lab = context.keep(Lab())
    context.running(lab, "tc")
    for words in ([command], [command, "--json"]):
        rejects(context, words, FAILURE, "bpfw", lab=lab, before=without("sys_ptrace", "bpf"))


@test("flows", "stats", "status")
def table_for_people(context, command):
    lab = context.keep(Lab())
    context.running(lab, "tc")
    done = call(lab, command)
    equal((done.returncode, done.stderr), (0, ""), f"bpfw {command}")
    expect(done.stdout.strip() and not done.stdout.lstrip().startswith("{"),
           f"no table: {done.stdout!r}")


@test(*HOOKS)
def interface_is_down(context, hook):
    """Routers start daemons before links: attached all the same, and said so."""
    lab = context.lab(hook)
    lab.router.ip("link set wan0 down")
    bpfw = context.running(lab, hook)
    equal(sorted({device for device, _, _ in attachments(lab.router)}), ["lan0", "wan0"],
          "attached devices")
    expect(bpfw.logged(r"wan0.*\bdown\b"), f"no word that wan0 is down:\n{bpfw.log}")
    expect(not bpfw.logged(r"lan0.*\bdown\b"), f"lan0 is up:\n{bpfw.log}")


def trace(lab, inject):
    """bpfw under strace, which makes chosen system calls fail. Leaks cannot be looked for then."""
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    probe = lab.router.run("strace", "-f", "-e", "trace=getppid", "true", check=False)
    if probe.returncode:
        raise Skip(f"strace cannot trace here: {probe.stderr.strip()}")
    return ["strace", "-f", "-o", "/dev/null", "-e", inject]


def netfilter_socket_numbers(lab):
    """Which of bpfw's socket() calls open netfilter's netlink, counted from 1."""
    log = os.path.join(tempfile.gettempdir(), f"bpfw-strace-{os.getpid()}")
    command = trace(lab, "trace=socket")
    command[command.index("/dev/null")] = log
    try:
        call(lab, "--hook", "tc", "--iface", "lan0", ASAN_OPTIONS="detect_leaks=0",
             before=[*command, "timeout", "-s", "TERM", "5"])
        with open(log, encoding="utf-8") as file:
            calls = [line.split(None, 1) for line in file if "socket(" in line]
    finally:
        if os.path.exists(log):
            os.unlink(log)
    # strace counts for each process by itself; the first word of a line is the process.
    own = {process for process, call_text in calls if "NETLINK_NETFILTER" in call_text}
    sockets = [call_text for process, call_text in calls if process in own]
    return [number for number, text in enumerate(sockets, 1) if "NETLINK_NETFILTER" in text]


@test()
def no_conntrack_in_the_kernel(context):
    lab = context.keep(Lab())
    found = netfilter_socket_numbers(lab)
    expect(found, "bpfw opens no socket of netfilter's netlink")
    rejects(context, ["--hook", "tc", "--iface", "lan0"], FAILURE, "conntrack", lab=lab,
            before=trace(lab, f"inject=socket:error=EPROTONOSUPPORT:when={found[0]}"),
            ASAN_OPTIONS="detect_leaks=0")


@test("error", "warn", "info", "debug")
def log_level(context, level):
    """Whatever the level, the line that others wait for is printed; more level, more lines."""
    lab = context.keep(Lab())
    bpfw = context.running(lab, "tc", args=("--log-level", level))
    if level == "debug":
        quiet = context.keep(Lab())
        other = context.running(quiet, "tc", args=("--log-level", "error"))
        wait_until(lambda: len(bpfw.log) > len(other.log), 2)
        expect(len(bpfw.log) > len(other.log), f"debug says no more than error:\n{bpfw.log}")


if __name__ == "__main__":
    main(jobs=4)
