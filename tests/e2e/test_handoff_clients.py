# SPDX-License-Identifier: Apache-2.0
"""decide: request with common clients and servers, all unmodified.

Each kind of server has a pool, and the frontend is for the models of all. A client asks for all models in turn, in
one session after the other. Each answer says which server got it, and the SHA-256 of the body there. Nothing is
sent twice. lab/scripts/handoff-clients does the same a hundred thousand times.
"""
import collections
import re
import socket

import test_keepalive
from clients import FRONTEND
from harness import case
from kernel import Skip, wait_for
from packages import library
from servers import Nginx
from test_handoff import WHERE, handed, lose_segments
from test_hold import holds
from test_keepalive import SOURCES, Server, Sim

UNDER_SANITIZERS = False
FIRST = 9000  # the servers' first port
EACH = 2      # servers of a kind
KINDS = 6     # of requests, that a session makes for each model
LOST = 2      # percent
LONG = 5000   # what was said before counts with its headers and answer; a prompt of so many characters is most of it


# -- servers -------------------------------------------------------------------------


class NginxBefore(Server):
    """nginx before an application server, at a path: what hashes the body has it from nginx."""

    CONFIG = Nginx.CONFIG.replace("listen {listen}", "listen [::]:{listen} ipv6only=off").replace(
        'location / {{ return 200 "{name}"; }}', """
        client_max_body_size 1m; client_body_buffer_size 256k;
        location / {{ proxy_pass http://unix:{root}/behind; proxy_buffering off; }}""")
    command = Nginx.command

    def start(self):
        self.node.popen([library("python") / "bin/python", "-B", SOURCES / "app.py", "h11", self.root / "behind"],
                        log=f"{self.name}-behind.log", env=self.environment())
        wait_for(self.behind, 30, f"what is behind {self.name}")
        super().start()

    def behind(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.root / "behind"))
        return True


class NamedSim(Sim):
    def command(self):
        return [*super().command(), "--model", self.kind]


SERVERS = {**test_keepalive.SERVERS, "nginx": NginxBefore, "sim": NamedSim}
# What these say of a body is only how many tokens its prompt has.
COUNTING = ("sim", "vllm")


class World:
    """The servers of all kinds that can be had, and pintled."""

    def __init__(self, node, kinds=None, each=EACH):
        self.node, self.servers = node, collections.defaultdict(list)
        self.place()
        for number, (kind, make) in enumerate((kinds or SERVERS).items()):
            try:
                for i in range(getattr(make, "each", each)):
                    self.servers[kind].append(make(self.places[i], f"{kind}-{i}", FIRST + 10 * number + i))
            except Skip as e:
                del self.servers[kind]
                print(f"without {kind}: {e}")
        for server in sum(self.servers.values(), []):
            wait_for(server.answers, 600 if server.kind == "vllm" else 30, f"{server.name} to answer")
        self.models = [*self.servers]
        # Of those that answer whatever model is asked for, if there are such.
        self.front = next((kind for kind in self.models if kind not in COUNTING), self.models[0])
        self.pins.daemon(self.pins.config(*(self.pool(kind) for kind in self.models)))
        wait_for(lambda: all(e["state"] == "ready" for e in self.pins.cli("endpoints")), 30, "all endpoints to be ready")
        self.begin()
        self.tokens = {kind: self.directly(kind) for kind in self.models if kind in COUNTING}
        wait_for(lambda: not self.tried().moves, 60, "what servers are given to be believed")

    def place(self):
        """Where servers run, and pintled."""
        self.node.add_client()
        self.pins, self.places = self.node, [self.node] * EACH

    def begin(self):
        """pintled runs."""

    def popen(self, argv, where, **more):
        """Starts a client."""
        return self.node.popen(argv, netns=self.node.client_netns if "remote" in where else self.node.netns, **more)

    def url(self, where):
        return f"http://{FRONTEND[where[:2]]}"

    def url_of(self, server):
        return f"http://127.0.0.1:{server.listen}"

    def pool(self, kind):
        """Requests without a model that is seen are for the one with the frontend."""
        front = {"models": {**{k: k for k in self.models}, "default": kind}, "requests": "one-per-connection"} \
            if kind == self.front else {"frontends": [], "announce": False}
        return self.make_pool(self.servers[kind], kind, decide="request", scrape={"interval": "500ms", "timeout": "1s"},
                              stickiness={"key": ["header/x-session-id", "source"], "prefix": True,
                                          "maxExtraLoad": "auto"}, **front)

    def make_pool(self, servers, kind, **more):
        return self.node.pool(servers, kind, **more)

    def directly(self, kind):
        """{characters of a prompt: its tokens}, as the server says to a client of its own."""
        job = Job(self, "curl", KINDS, url=self.url_of(self.servers[kind][0]), models=[kind])
        found = {row.characters: row.tokens for row in job.rows(600)}
        assert all(found.values()), found
        return found

    def tried(self):
        """What came of one session. Until servers have listened for some seconds, nobody believes what they were given,
        and sessions move."""
        judge = Judge(self)
        for row in Job(self, "curl", KINDS * len(self.models)).rows():
            judge.look("curl", row)
        return judge

    def failed(self):
        """Placements of which no connection became, ever."""
        return sum(e["failed"] for e in self.pins.cli("endpoints"))

    def counts(self):
        """What Pintle counts of all requests so far, without the zeros."""
        found = collections.Counter({**handed(self.pins, self.front),
                                     **{f"hold {k}": n for k, n in holds(self.pins).items()}})
        for row in self.pins.cli("stats"):
            if row["decisions"]:
                found["decisions"] += row["decisions"]
                found["escaped"] += (row["outcome"] == "escaped") * row["decisions"]
        return found


# -- clients -------------------------------------------------------------------------


def old_openai(name):
    return lambda: [library("python1") / "bin/python", "-B", SOURCES / "ask.py", name]


CLIENTS = {**{name: command for name, (command, _) in test_keepalive.CLIENTS.items()},
           "openai-1": old_openai("openai"), "openai-1-async": old_openai("openai-async")}
# They write the model behind the prompt, or wait before they send a body at all: it may not be seen.
MAY_BE_UNSEEN = ("openai-1", "openai-1-async", "go", "curl-expect")

Row = collections.namedtuple("Row", "model session characters events digest tokens said")


class Job:
    """A client at work."""

    made = 0

    def __init__(self, world, client, count, where="v4", *, url=None, models=None):
        Job.made += 1
        self.world, self.client, self.count = world, client, count
        node = world.node
        self.out = node.dir / f"{client}-{Job.made}.rows"
        # No signs, so that one word is a token for all servers, or all are as long.
        label = f"{client.replace('-', '')}n{Job.made}"
        with open(self.out, "wb") as out:
            self.process = world.popen(
                [*CLIENTS[client](), "tell", count, url or world.url(where), label, *(models or world.models)], where,
                stdout=out, env={"TMPDIR": str(node.dir), "NO_PROXY": "*"})

    def rows(self, timeout=100):
        """Waits for the end; an error is in the place of the digest."""
        assert self.process.wait(timeout) == 0, self.client
        found = []
        with open(self.out) as lines:
            for line in lines:
                model, session, characters, events, digest, rest = line.rstrip("\n").split(" ", 5)
                tokens, said = (0, rest) if digest == "error" else rest.split(" ", 1)
                found.append(Row(model, session, int(characters), int(events), digest, int(tokens), said))
        assert len(found) == self.count, (self.client, len(found))
        return found


class Judge:
    """Errors, answers to another body than was sent, models that met another pool, sessions that move."""

    def __init__(self, world):
        self.world = world
        self.errors, self.wrong, self.strayed = [], [], []
        self.unseen = 0  # requests that met the default's pool, though their model was to be seen
        self.met = {}   # each session's server of a pool
        self.moves = 0

    def look(self, client, row):
        if row.digest == "error":
            self.errors.append((client, row))
            return
        server, _, digest = row.said.partition(" ")
        digest = digest[:64].rstrip()
        if re.fullmatch("[0-9a-f]{64}", digest):
            self.look_hashed(client, row, server, digest)
        elif row.model not in COUNTING or row.tokens != self.world.tokens[row.model][row.characters]:
            self.wrong.append((client, row))

    def look_hashed(self, client, row, server, digest):
        pool = server.rpartition("-")[0]
        if digest != row.digest:
            self.wrong.append((client, row))
        if pool not in (row.model, self.world.front):
            self.strayed.append((client, row))
        self.unseen += pool != row.model and client not in MAY_BE_UNSEEN
        former, characters = self.met.get((row.session, pool), (server, 0))
        self.moves += former != server and characters >= LONG
        self.met[row.session, pool] = server, row.characters

    def sentence(self):
        found = {"errors": self.errors, "wrong": self.wrong, "strayed": self.strayed}
        assert not any(found.values()), {what: (len(rows), rows[:3]) for what, rows in found.items()}


def clients():
    """Those whose tool chain is there."""
    for name, command in CLIENTS.items():
        try:
            command()
        except Skip as e:
            print(f"without {name}: {e}")
            continue
        yield name


# -- cases ---------------------------------------------------------------------------


@case(each=tuple(CLIENTS), timeout=200)
def test_client(node, client):
    """Small and large bodies, whole answers and streams: no error, each body as it was sent, each model in its pool,
    a decision for each request; and each session stays where it is once it has said more than a little, unless that
    server has too much to do."""
    CLIENTS[client]()
    world, total = World(node), 0
    judge, before, failed = Judge(world), world.counts(), world.failed()
    for where in WHERE:
        job = Job(world, client, 2 * KINDS * len(world.models), where)
        for row in job.rows():
            judge.look(client, row)
        total += job.count
    judge.sentence()
    counts = world.counts()
    counts.subtract(before)
    assert judge.moves <= counts["escaped"], (judge.moves, counts)
    assert counts["asked"] == total <= counts["decisions"] and not judge.unseen, (judge.unseen, counts)
    # On a busy machine TC sees several segments before TCP sees the first: where that ends the connection, the next is
    # nobody's, and a decision for the lookup hook, which fails.
    wait_for(lambda: world.failed() - failed >= counts["decisions"] - total, 40)


@case(each=("v4", "v6"), timeout=300)
def test_loss(node, family):
    """All clients at once, with segments lost on either side of TC, at both ends."""
    world = World(node)
    lose_segments(node, LOST)
    judge, before = Judge(world), world.counts()
    where = [w for w in WHERE if w.startswith(family)]
    jobs = [Job(world, name, KINDS * len(world.models), where[i % 2]) for i, name in enumerate(clients())]
    for job in jobs:
        for row in job.rows(250):
            judge.look(job.client, row)
    judge.sentence()
    counts = world.counts()
    counts.subtract(before)
    # A request that was lost behind TC may be decided once more, where the hand-off rests for its client then.
    again = counts["decisions"] - sum(job.count for job in jobs)
    assert 0 <= again <= counts["no_socket"], (again, counts)
    # Where a connection is not over for the server, the kernel answers the next one from its port.
    assert judge.unseen <= counts["by_connection"] + counts["hold no_place"], (judge.unseen, counts)
