# SPDX-License-Identifier: GPL-2.0-only
"""Results as TAP, for the tests in Python that have no network of their own."""


class Report:
    """TAP."""

    def __init__(self):
        self.number = self.failed = 0

    def result(self, good, name, skip=""):
        self.number += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.number} - {name}"
              + (f" # SKIP {skip}" if skip else ""), flush=True)

    def note(self, text):
        for line in text.splitlines():
            print(f"# {line}")
