# SPDX-License-Identifier: Apache-2.0
"""Runs `pintle` on a directory of pins."""
import json

from kernel import BUILD


class Pins:
    """Needs self.bpffs and self.run()."""

    build = BUILD  # whose pintle is run

    def detach(self, config=None, *more, check=True):
        argument = ["--config", config] if config else ["--bpffs", self.bpffs]
        return self.run(BUILD / "pintled", "--detach", *argument, *more, check=check)

    def cli(self, *arguments):
        """The parsed output of `pintle ... -o json`."""
        return json.loads(self.pintle(*arguments, "-o", "json").stdout)

    def pintle(self, *arguments, check=True):
        """Runs `pintle --bpffs DIR ...` as a user does."""
        return self.run(self.build / "pintle", "--bpffs", self.bpffs, *arguments, check=check)

    def endpoint(self, name):
        for e in self.cli("endpoints"):
            if e["name"] == name:
                return e
        raise KeyError(name)

    def in_flight(self):
        return {e["name"]: e["in_flight"] for e in self.cli("endpoints")}

    def decisions(self, pool="pool"):
        """{outcome: count}, without the zeros."""
        found = {}
        for row in self.cli("stats"):
            if row["pool"] == pool and row.get("decisions", 0):
                found[row["outcome"]] = row["decisions"]
        return found
