# SPDX-License-Identifier: Apache-2.0
"""decide: request with splice, with common clients and servers, all unmodified: as test_handoff_clients, with the clients in
a pod of one node, and the servers in pods of two others."""
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster, at
from test_handoff_clients import KINDS, Job, Judge, World, clients

UNDER_SANITIZERS = False
LOSE = """table inet loss {
	chain %s {
		type filter hook %s priority 0
		meta l4proto tcp numgen random mod 100 < %d drop
	}
}
"""


class Spliced(World):
    def __init__(self, node, family="v4"):
        self.family = family
        super().__init__(node)

    def place(self):
        self.pins = Cluster(self.node, 3)
        self.places = [machine.pod(machine.name) for machine in self.pins.machines[1:]]
        self.client = self.pins.pod("client")

    def begin(self):
        """A pod's first connection shows that its device sees both directions."""
        wait_for(lambda: Job(self, "curl", 1).rows() and self.pins.cli("status")[0]["splice_pods"], 30)

    def popen(self, argv, where, **more):
        return self.client.popen(argv, **more)

    def url(self, where):
        return f"http://{SERVICE[self.family]}"

    def url_of(self, server):
        return "http://" + self.address(server)

    def address(self, server):
        return at(getattr(server.node, self.family), server.listen)

    def make_pool(self, servers, kind, **more):
        more.pop("announce", None)
        return self.pins.pool([{"name": s.name, "address": self.address(s)} for s in servers], kind, splice=True,
                              to=SERVICE[self.family], **more)

    def lose(self, percent):
        """At the client's device, between the nodes, and in the servers' pods: in both directions."""
        for place, hook in ((self.client, "input"), (self.client, "output"), (self.pins.machines[0], "forward"),
                            *((pod, hook) for pod in self.places for hook in ("input", "output"))):
            place.nft(LOSE % (hook, hook, percent))


def judged(world, jobs, timeout):
    """What came of the requests of the jobs, none of which failed, or met another server than it asked for; and what
    Pintle counted."""
    judge, before = Judge(world), world.counts()
    for job in [job() for job in jobs]:
        for row in job.rows(timeout):
            judge.look(job.client, row)
    judge.sentence()
    counts = world.counts()
    counts.subtract(before)
    return judge, counts


@case(timeout=300)
def test_clients(node):
    """Small and large bodies, whole answers and streams, by all clients at once: no error, each body as it was sent, each
    model in its pool, a decision for each request; and each session stays where it is, unless that server has too much to
    do."""
    world = Spliced(node)
    count = KINDS * len(world.models)
    names = list(clients())
    judge, counts = judged(world, [lambda name=name: Job(world, name, count) for name in names], 280)
    assert judge.moves <= counts["escaped"], (judge.moves, counts)
    assert counts["asked"] == count * len(names) <= counts["decisions"] and not judge.unseen, (judge.unseen, counts)


@case(each=("v6 1", "v4 3"), timeout=300)
def test_loss(node, what):
    """All clients at once, with segments lost at three points."""
    family, percent = what.split()
    world = Spliced(node, family)
    world.lose(int(percent))
    judge, counts = judged(world, [lambda name=name: Job(world, name, KINDS * len(world.models)) for name in clients()], 280)
    # A SYN that is not answered at once makes the next connection one that is decided as it comes.
    assert counts["asked"] > 0, counts
