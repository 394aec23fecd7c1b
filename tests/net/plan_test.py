#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Which ports the named interfaces stand on, what is attached there, and that it follows changes:
by `bpfw status`, `bpfw --dry-run` and what the kernel says is attached."""

import json

from netlab import HOOKS, Lab, Skip, attachments, binary, equal, expect, main, test, wait_until
from netlab.bpfw import SANITIZER, environment
from netlab.lab import run

# Events are followed in milliseconds; the rest is for a machine that runs other tests.
FOLLOWED = 5
ALL_HOOKS = (*HOOKS, "auto")
MODES = {"tc": ("tcx", "clsact"), "xdp": ("xdp",), "xdpgeneric": ("xdpgeneric",), "auto": ("xdp",)}


def call(lab, *words):
    """Run bpfw in the router's namespace until it ends."""
    done = run(["nsenter", f"--net={lab.router.path}", binary(), *words], check=False,
               env=environment())
    expect(not SANITIZER.search(done.stderr), f"sanitizer report:\n{done.stderr}")
    return done


def read_plan(lab, *words):
    done = call(lab, *words, "--json")
    equal((done.returncode, done.stderr), (0, ""), f"bpfw {words}: {done.stdout}")
    plan = json.loads(done.stdout)
    equal(list(plan), ["plan"], "members")
    for row in plan["plan"]:
        equal(list(row), ["interface", "path", "port", "hook", "mode", "note"], "members of a row")
        equal(row["path"][0], row["interface"], f"begin of the path of {row}")
        expect(row["port"] in (None, row["path"][-1]), f"port of {row}")
    return plan["plan"]


def status(lab):
    return read_plan(lab, "status")


def dry_run(lab, hook, *interfaces):
    return read_plan(lab, "--dry-run", "--hook", hook, "--iface", ",".join(interfaces))


def paths(rows):
    """The paths of the rows, and whether each has something attached."""
    return {" > ".join(row["path"]): row["mode"] not in ("not attached", "left out")
            for row in rows}


def ports(lab):
    """The devices that have a program of bpfw."""
    return sorted({device for device, _, name in attachments(lab.router)
                   if name.startswith("bpfw")})


def follows(lab, wanted, devices):
    """Status and kernel come to say the same."""
    wait_until(lambda: paths(status(lab)) == wanted and ports(lab) == devices, FOLLOWED)
    equal(paths(status(lab)), wanted, "paths")
    equal(ports(lab), devices, "ports with programs")


def with_bridge(context):
    """lan0 becomes a port of br-lan; spare1 and spare2 are pairs that belong to nothing."""
    lab = context.keep(Lab())
    lab.router.ip("link add br-lan type bridge", "link set br-lan up",
                  "addr flush dev lan0", "link set lan0 master br-lan",
                  "link add spare1 type veth peer name far1", "link set spare1 up",
                  "link add spare2 type veth peer name far2", "link set spare2 up")
    return lab


@test(*ALL_HOOKS)
def bridge_ports_come_and_go(context, hook):
    lab = with_bridge(context)
    bpfw = context.running(lab, hook, interfaces=("br-lan", "wan0"))
    equal(ports(lab), ["lan0", "wan0"], "ports")
    for row in status(lab):
        equal(row["hook"], "tc" if hook == "tc" else "xdp", f"hook of {row}")
        expect(row["mode"] in MODES[hook], f"mode of {row}")
    lab.router.ip("link set spare1 master br-lan", "link set spare2 master br-lan")
    follows(lab, {"br-lan > lan0": True, "br-lan > spare1": True, "br-lan > spare2": True,
                  "wan0": True}, ["lan0", "spare1", "spare2", "wan0"])
    lab.router.ip("link set spare1 nomaster", "link del spare2")
    follows(lab, {"br-lan > lan0": True, "wan0": True}, ["lan0", "wan0"])
    lab.router.ip("link set lan0 nomaster")
    follows(lab, {"br-lan": False, "wan0": True}, ["wan0"])
    row = status(lab)[0]
    equal((row["port"], row["hook"], row["mode"], row["note"]),
          (None, None, "not attached", "has no ports yet"), "a bridge without ports")
    lab.router.ip("link set lan0 master br-lan")
    follows(lab, {"br-lan > lan0": True, "wan0": True}, ["lan0", "wan0"])
    bpfw.stop()
    equal(attachments(lab.router), [], "attached programs after the end")


@test(*ALL_HOOKS)
def interface_comes_back(context, hook):
    """Deleted and made anew under the same name, a port and a bridge; and renamed."""
    lab = with_bridge(context)
    context.running(lab, hook, interfaces=("br-lan", "spare1"))
    before = {"br-lan > lan0": True, "spare1": True}
    for _ in range(3):
        first = lab.router.ifindex("spare1")
        lab.router.ip("link del spare1")
        follows(lab, {"br-lan > lan0": True, "spare1": False}, ["lan0"])
        lab.router.ip("link add spare1 type veth peer name far1", "link set spare1 up")
        follows(lab, before, ["lan0", "spare1"])
        expect(lab.router.ifindex("spare1") != first, "it has the number that it had")
    # Both at once: the daemon sees one batch of events.
    lab.router.ip("link del spare1", "link add spare1 type veth peer name far1")
    follows(lab, before, ["lan0", "spare1"])
    lab.router.ip("link del br-lan")
    follows(lab, {"br-lan": False, "spare1": True}, ["spare1"])
    lab.router.ip("link add br-lan type bridge", "link set lan0 master br-lan")
    follows(lab, before, ["lan0", "spare1"])
    lab.router.ip("link set spare1 down", "link set spare1 name other")
    follows(lab, {"br-lan > lan0": True, "spare1": False}, ["lan0"])
    lab.router.ip("link set spare2 down", "link set spare2 name spare1")
    follows(lab, before, ["lan0", "spare1"])


@test(*ALL_HOOKS)
def interface_comes_later(context, hook):
    lab = context.keep(Lab())
    bpfw = context.running(lab, hook, interfaces=("lan0", "late", "br-late"))
    expect(bpfw.logged(r"^bpfw: warning: interface 'late': does not exist yet"), bpfw.log)
    follows(lab, {"lan0": True, "late": False, "br-late": False}, ["lan0"])
    lab.router.ip("link add late type veth peer name far")
    follows(lab, {"lan0": True, "late": True, "br-late": False}, ["lan0", "late"])
    lab.router.ip("link add br-late type bridge", "link set far master br-late")
    follows(lab, {"lan0": True, "late": True, "br-late > far": True}, ["far", "lan0", "late"])


@test(*ALL_HOOKS)
def macvlan(context, hook):
    """It takes frames at TC whatever is asked for, and says why."""
    lab = context.keep(Lab())
    lab.router.ip("link add mac0 link wan0 type macvlan mode bridge", "link set mac0 up")
    bpfw = context.running(lab, hook, interfaces=("lan0", "mac0"))
    rows = {row["interface"]: row for row in status(lab)}
    equal(rows["mac0"]["hook"], "tc", "hook of a macvlan")
    expect(rows["mac0"]["mode"] in MODES["tc"], f"mode of {rows['mac0']}")
    if hook != "tc":
        expect("macvlan" in rows["mac0"]["note"] and "XDP" in rows["mac0"]["note"],
               f"note of {rows['mac0']}")
    # What goes to it cannot come from XDP, so the automatic ones stay together.
    expect(rows["lan0"]["mode"] in MODES["tc" if hook == "auto" else hook],
           f"mode of {rows['lan0']}")
    equal(ports(lab), ["lan0", "mac0"], "ports")
    # The device that it is made from goes away with it.
    lab.router.ip("link del wan0")
    follows(lab, {"lan0": True, "mac0": False}, ["lan0"])
    expect(bpfw.logged(r"interface 'mac0' is gone"), bpfw.log)


@test()
def automatic_ports_move_together(context):
    """A port that cannot do XDP comes later: the ones that are there move to TC."""
    lab = with_bridge(context)
    bpfw = context.running(lab, "auto", interfaces=("br-lan", "wan0", "late"))
    equal({row["mode"] for row in status(lab) if row["port"]}, {"xdp"}, "modes")
    lab.router.ip("link add late link spare1 type macvlan")
    wanted = {"br-lan > lan0": True, "wan0": True, "late": True}
    follows(lab, wanted, ["lan0", "late", "wan0"])
    modes = {row["mode"] for row in status(lab)}
    expect(modes <= set(MODES["tc"]), f"modes: {modes}")
    equal({kind for _, kind, _ in attachments(lab.router)} & {"driver", "generic", "xdp"}, set(),
          "programs at XDP that are left")
    # They stay there, and new ones join them.
    lab.router.ip("link del late", "link set spare2 master br-lan")
    follows(lab, {"br-lan > lan0": True, "br-lan > spare2": True, "wan0": True, "late": False},
            ["lan0", "spare2", "wan0"])
    modes = {row["mode"] for row in status(lab) if row["port"]}
    expect(modes <= set(MODES["tc"]), f"modes: {modes}")
    bpfw.stop()
    equal(attachments(lab.router), [], "attached programs after the end")


def set_forwarding(lab, device, ipv4, ipv6):
    lab.router.sysctl(f"ipv4/conf/{device}/forwarding", ipv4)
    lab.router.sysctl(f"ipv6/conf/{device}/forwarding", ipv6)


@test(*ALL_HOOKS)
def every_interface_that_forwards(context, hook):
    lab = with_bridge(context)
    lab.set_forwarding(0)
    for device in ("br-lan", "lan0", "wan0", "spare1", "spare2", "far1", "far2"):
        set_forwarding(lab, device, 0, 0)
    refused = call(lab, "--iface", "auto")
    equal(refused.returncode, 1, f"exit status where nothing forwards: {refused.stderr}")
    set_forwarding(lab, "br-lan", 1, 1)
    set_forwarding(lab, "wan0", 1, 0)
    set_forwarding(lab, "spare1", 0, 1)
    # What does not forward is listed with the reason.
    left_out = {"lo": False, "spare1": False, "spare2": False, "far1": False, "far2": False}
    wanted = left_out | {"br-lan > lan0": True, "wan0": True, "spare1": True}
    equal(paths(dry_run(lab, hook, "auto")), wanted, "planned")
    bpfw = context.running(lab, hook, interfaces=("auto",))
    follows(lab, wanted, ["lan0", "spare1", "wan0"])
    # Devices come with the setting that is the default, and the setting may change.
    set_forwarding(lab, "spare1", 0, 0)
    set_forwarding(lab, "spare2", 1, 0)
    wanted = left_out | {"br-lan > lan0": True, "wan0": True, "spare2": True}
    follows(lab, wanted, ["lan0", "spare2", "wan0"])
    lab.router.sysctl("ipv4/conf/default/forwarding", 1)
    lab.router.ip("link add new0 type veth peer name new1", "link set new1 master br-lan")
    follows(lab, wanted | {"br-lan > new1": True, "new0": True},
            ["lan0", "new0", "new1", "spare2", "wan0"])
    bpfw.stop()
    equal(attachments(lab.router), [], "attached programs after the end")


def everything_about(lab):
    """The devices of the router, with what a program or a setting would change of them."""
    devices = lab.router.json("ip", "-j", "link", "show")
    for device in devices:  # carriers of new devices settle by themselves
        del device["operstate"], device["flags"]
    return {"programs": attachments(lab.router),
            "devices": devices,
            "features": lab.router.run("ethtool", "-k", "lan0").stdout,
            "qdiscs": lab.router.run("tc", "qdisc", "show").stdout}


def unchanged(lab, before, when):
    now = everything_about(lab)
    for what, seen in before.items():
        equal(now[what], seen, f"{what} {when}")


@test(*ALL_HOOKS)
def dry_run_changes_nothing(context, hook):
    """Before, while and after another one runs; and it plans what that one does."""
    lab = with_bridge(context)
    named = ("br-lan", "wan0", "lo", "late")
    before = everything_about(lab)
    planned = dry_run(lab, hook, *named)
    unchanged(lab, before, "after a dry run")
    equal(paths(planned), {"br-lan > lan0": True, "wan0": True, "lo": False, "late": False},
          "planned")
    bpfw = context.running(lab, hook, interfaces=named)
    running = everything_about(lab)
    equal(dry_run(lab, hook, *named), planned, "planned while it runs")
    unchanged(lab, running, "after a dry run beside it")
    done = status(lab)
    for row in done:
        row["mode"] = "tc" if row["mode"] in MODES["tc"] else row["mode"]
    equal(done, planned, "done")
    bpfw.stop()
    unchanged(lab, before, "after the end")


@test(*HOOKS)
def start_with_a_taken_port(context, hook):
    """A port of the bridge is another bpfw's: an error that names it, and nothing is attached."""
    lab = with_bridge(context)
    lab.router.ip("link set spare1 master br-lan")
    context.running(lab, hook, interfaces=("spare1",))
    before = attachments(lab.router)
    done = call(lab, "--hook", hook, "--iface", "br-lan")
    equal(done.returncode, 1, f"exit status: {done.stderr}")
    expect("'spare1'" in done.stderr and "another bpfw" in done.stderr, done.stderr)
    equal(attachments(lab.router), before, "attached programs")


@test(*HOOKS)
def taken_port_comes_later(context, hook):
    """Then it is a warning, and the row says that nothing is attached."""
    lab = with_bridge(context)
    other = context.running(lab, hook, interfaces=("spare1",))
    bpfw = context.running(lab, hook, interfaces=("br-lan",))
    lab.router.ip("link set spare1 master br-lan")
    expect(wait_until(lambda: bpfw.logged(r"^bpfw: warning: interface 'spare1': another bpfw"),
                      FOLLOWED), bpfw.log)
    expect(not bpfw.logged(r"^bpfw: error"), bpfw.log)
    # Both instances are shown.
    rows = [row for row in status(lab) if row["port"] == "spare1"]
    equal(sorted((row["interface"], row["mode"] == "not attached") for row in rows),
          [("br-lan", True), ("spare1", False)], f"rows {rows}")
    other.stop()
    lab.router.ip("link set spare1 nomaster", "link set spare1 master br-lan")
    follows(lab, {"br-lan > lan0": True, "br-lan > spare1": True}, ["lan0", "spare1"])


def add_vlan(lab, device, name, number):
    done = lab.router.run("ip", "link", "add", "link", device, "name", name, "type", "vlan", "id",
                          str(number), check=False)
    if done.returncode:
        raise Skip(f"this kernel has no VLAN devices: {done.stderr.strip()}")


def strips_vlans(lab, device):
    shown = lab.router.run("ethtool", "-k", device).stdout
    return "rx-vlan-offload: on" in shown


@test()
def stripped_tags(context):
    """A port that hides tags from XDP: left out, at TC, or with consent switched over."""
    lab = with_bridge(context)
    add_vlan(lab, "wan0", "wan0.7", 7)
    if not strips_vlans(lab, "wan0"):
        raise Skip("a veth of this kernel strips no VLAN tags")
    done = call(lab, "--hook", "xdp", "--iface", "wan0.7")
    equal(done.returncode, 1, f"exit status: {done.stderr}")
    expect("--rxvlan-off" in done.stderr, done.stderr)
    rows = dry_run(lab, "auto", "lan0", "wan0.7")
    equal([row["mode"] for row in rows], ["tc", "tc"], f"modes of {rows}")
    bpfw = context.running(lab, "xdp", interfaces=("wan0.7",), args=("--rxvlan-off",))
    expect(not strips_vlans(lab, "wan0"), "stripping is on")
    follows(lab, {"wan0.7 > wan0": True}, ["wan0"])
    bpfw.stop()
    expect(strips_vlans(lab, "wan0"), "stripping is off for good")


@test()
def vlan_comes_later(context):
    """A device that needs tags on a port where they are hidden from XDP."""
    lab = with_bridge(context)
    add_vlan(lab, "spare1", "spare1.1", 1)
    if not strips_vlans(lab, "wan0"):
        raise Skip("a veth of this kernel strips no VLAN tags")
    bpfw = context.running(lab, "xdp", interfaces=("wan0", "wan0.7", "lan0"))
    follows(lab, {"wan0": True, "wan0.7": False, "lan0": True}, ["lan0", "wan0"])
    add_vlan(lab, "wan0", "wan0.7", 7)
    follows(lab, {"wan0": False, "wan0.7 > wan0": False, "lan0": True}, ["lan0"])
    expect(bpfw.logged(r"wan0.*--rxvlan-off"), bpfw.log)
    lab.router.ip("link del wan0.7")
    follows(lab, {"wan0": True, "wan0.7": False, "lan0": True}, ["lan0", "wan0"])


if __name__ == "__main__":
    main(jobs=4)
