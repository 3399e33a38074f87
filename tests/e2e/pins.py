# SPDX-License-Identifier: Apache-2.0
"""What a case asks `pintle` about one directory of pins."""
import json

from kernel import BUILD


class Pins:
    """Needs self.bpffs and self.run()."""

    def detach(self, config=None, check=True):
        argument = ["--config", config] if config else ["--bpffs", self.bpffs]
        return self.run(BUILD / "pintled", "--detach", *argument, check=check)

    def cli(self, *arguments):
        """What `pintle ... -o json` prints, parsed."""
        return json.loads(self.pintle(*arguments, "-o", "json").stdout)

    def pintle(self, *arguments, check=True):
        """`pintle --bpffs DIR ...` as a person runs it."""
        return self.run(BUILD / "pintle", "--bpffs", self.bpffs, *arguments, check=check)

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
