# SPDX-License-Identifier: GPL-2.0-only
"""Stand-in for procd, the daemon. What of it is imitated:

- A message names the instances of the service. One that runs and is not named gets SIGTERM.
- One that does not run is started, by ujail if it has a jail (see jail.py).
- One that runs and whose parameters, or the content of whose `file`s, differ from those that it was
  started or last reloaded with gets the reload signal; one that has none, a restart.
- One that runs and has not changed is left alone.
- Environment: what the service asks for, and nothing of a service manager's own.
"""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LISTS = ("jail_mount", "jail_mount_rw", "limits", "file")
STOP_TIMEOUT = 20


@dataclasses.dataclass
class Message:
    """What shell/procd.sh has written of one message."""

    instances: dict = dataclasses.field(default_factory=dict)
    triggers: list = dataclasses.field(default_factory=list)
    killed: bool = False
    complete: bool = False

    @classmethod
    def read(cls, text):
        message = cls()
        current = None
        for line in text.splitlines():
            kind, *words = line.split(" ")
            if kind == "instance":
                current = message.instances.setdefault(words[0], {})
            elif kind == "end":
                message.complete = True
            elif kind == "kill":
                message.killed = True
            elif kind.startswith("reload_") and kind.endswith("trigger"):
                message.triggers.append(tuple([kind, *words]))
            elif kind in LISTS:
                current.setdefault(kind, []).extend(words)
            elif kind != "service":
                current[kind] = words
        return message


class Procd:
    """Runs the instances of one service."""

    def __init__(self, router, namespace, log, env):
        self.router, self.namespace, self.log, self.env = router, namespace, log, env
        self.processes = {}
        self.state = {}

    def _state(self, parameters):
        """What decides on a reload."""
        sums = [hashlib.md5(self.router.read(path).encode()).hexdigest()
                for path in parameters.get("file", [])]
        return {**parameters, "sums": sums}

    def act(self, message):
        """Do what the message asks for; the names of what was done, in order."""
        done = []
        for name in list(self.processes):
            if message.killed or (message.complete and name not in message.instances):
                self.stop(name)
                done.append(f"stop {name}")
        for name, parameters in message.instances.items():
            done += self._set(name, parameters)
        return done

    def _set(self, name, parameters):
        state = self._state(parameters)
        running = name in self.processes and self.processes[name].poll() is None
        if not running:
            self._start(name, parameters)
        changed = running and state != self.state[name]
        self.state[name] = state
        if not running:
            return [f"start {name}"]
        if not changed:
            return []
        if "reload_signal" not in parameters:
            self.stop(name)
            self._start(name, parameters)
            return [f"restart {name}"]
        number = getattr(signal, f"SIG{parameters['reload_signal'][0]}")
        self.processes[name].send_signal(number)
        return [f"signal {name} {number.name}"]

    def _start(self, name, parameters):
        launcher = [sys.executable, os.path.join(HERE, "jail.py"), self.router.root,
                    json.dumps(parameters)]
        self.processes[name] = subprocess.Popen(
            ["nsenter", f"--net={self.namespace.path}", *launcher], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, env=self.env)

    def stop(self, name):
        """SIGTERM; the exit status."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(STOP_TIMEOUT)

    def close(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
