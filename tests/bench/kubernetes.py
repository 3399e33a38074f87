# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes costs the daemon."""
import os
import re
import statistics
import sys
import time
from pathlib import Path

from common import table
from kernel import TOP, wait_for

sys.path.append(str(TOP / "tests/kubernetes"))

PODS, SERVICES, RATE = 1000, 20, 10
ROUNDS, SECONDS = 3, 30
# So that what Kubernetes costs is not lost in what scraping costs.
SLOW = {"scrape": {"interval": "1h"}, "saturation": {"staleness": "1h"}}


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def cost(daemon, seconds):
    """(percent of a core, MiB resident)"""
    cpu, begun = cpu_seconds(daemon.pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(daemon.pid) - cpu) / (time.monotonic() - begun), resident_mib(daemon.pid)


def by_file(fleet):
    """The same pools, in a configuration file."""
    return fleet.machine.daemon(fleet.machine.config(*[{
        "name": s.name, "engine": "auto", "mode": "enforce", "frontends": [f"{s.address}:8000"],
        "endpoints": [{"name": p.name, "address": f"{p.v4}:8000"} for p in fleet.pods if p.service is s], **SLOW,
    } for s in fleet.services]))


def start(fleet, make, beginning):
    daemon = make(fleet)
    wait_for(lambda: sum(e["state"] == "ready" and e["pool"].startswith(beginning)
                         for e in fleet.machine.cli("endpoints")) == len(fleet.pods), 60, "all endpoints to be ready")
    time.sleep(beginning and 5)  # what only the beginning costs is over
    return daemon


def row(what, found, base):
    cpu, memory = (statistics.median(column) for column in zip(*found))
    more = [statistics.median(a[i] - b[i] for a, b in zip(found, base)) for i in range(2)]
    return [what, f"{cpu:.2f}", f"{memory:.1f}", *(f"{m:+.2f}" for m in more)]


def kubernetes(node, quick):
    from churn import Churn, Fleet  # which need PyYAML

    fleet = Fleet(node, pods=PODS, services=SERVICES)
    fleet.api.define("steeringpolicies")
    for s in fleet.services:
        fleet.api.policy(s.name, ("Service", s.name), space=s.space, **SLOW)
    rounds, seconds = (1, 5) if quick else (ROUNDS, SECONDS)
    file, idle, churning = [], [], []
    for _ in range(rounds):
        for found, make, beginning in ((file, by_file, "s"), (idle, Fleet.daemon, "team-")):
            daemon = start(fleet, make, beginning)
            found.append(cost(daemon, seconds))
            daemon.stop()
    daemon = start(fleet, Fleet.daemon, "team-")
    with Churn(fleet, rate=RATE):
        time.sleep(5)
        churning = [cost(daemon, seconds) for _ in range(rounds)]
    return table("Kubernetes",
                 f"{PODS:,} pods behind {SERVICES} Services, their pages read once an hour. The pools come from a "
                 f"file, or from a real API server where nothing changes, or where {RATE} pods a second become "
                 f"unready or are replaced. CPU is pintled's user and system time over {seconds} s; medians of "
                 f"{rounds}, by turns. Goal: idle at most 0.5 % of a core and 8 MiB more than from the file.",
                 ["pools", "% of a core", "MiB resident", "more % of a core", "more MiB"],
                 [row("from the file", file, file), row("from Kubernetes, idle", idle, file),
                  row(f"from Kubernetes, {RATE} pods a second", churning, file)])
