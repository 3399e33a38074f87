# SPDX-License-Identifier: Apache-2.0
"""A program on a terminal: tmux draws it, types keys, and says what is on the screen."""
import shlex
import shutil

from kernel import BUILD, Skip, wait_for


class Terminal:
    """`argv` in a tmux of its own, in the node; its processes end with the case's cgroup."""

    def __init__(self, node, *argv, columns=80, rows=24, term="tmux-256color", env=None):
        self.binary = shutil.which("tmux")
        if not self.binary:
            raise Skip("no tmux: scripts/deps test installs it")
        self.node = node
        self.number = len(list(node.dir.glob("tmux-*.conf")))
        self.socket = node.dir / f"tmux-{self.number}.sock"
        config = node.write(f"tmux-{self.number}.conf", (
            "set -g status off\nset -g remain-on-exit on\nset -s escape-time 0\n"
            f"set -g default-terminal {term if term.startswith(('tmux', 'screen')) else 'screen'}\n"))
        # ncurses keeps some memory to the end.
        leaks = node.write("lsan.supp", "leak:libncursesw\nleak:libtinfo\n")
        given = {"LC_ALL": "C.UTF-8", "TERM": term, "LSAN_OPTIONS": f"suppressions={leaks}:print_suppressions=0",
                 **(env or {})}
        for name in ("NO_COLOR", "TMUX", "PINTLE_BPFFS"):
            given.setdefault(name, None)
        # `env` takes its options first.
        words = ["env", *[w for k, v in given.items() if v is None for w in ("-u", k)],
                 *[f"{k}={v}" for k, v in given.items() if v is not None], *map(str, argv)]
        node.run(self.binary, "-u", "-f", config, "-S", self.socket, "new-session", "-d",
                 "-x", columns, "-y", rows, shlex.join(words), env={"LC_ALL": "C.UTF-8"})

    def tmux(self, *words):
        return self.node.run(self.binary, "-u", "-S", self.socket, *words, env={"LC_ALL": "C.UTF-8"}).stdout

    def screen(self, escapes=False):
        """The lines of the screen, without blanks at their ends; with `escapes`, in colour."""
        return self.tmux("capture-pane", "-p", *(["-e"] if escapes else [])).split("\n")[:-1]

    def text(self):
        return "\n".join(self.screen())

    def shows(self, *texts, timeout=15):
        """Waits until all the texts are on the screen; returns it."""
        def seen():
            now = self.text()
            return now if all(t in now for t in texts) else None

        try:
            return wait_for(seen, timeout, f"{texts} on the screen")
        except AssertionError:
            print(self.text())
            raise

    def keys(self, *keys):
        """Types keys by their tmux names (`Down`, `Escape`, `C-z`) or as they are."""
        self.tmux("send-keys", *keys)

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def ask(self, variable):
        """What tmux knows: pane_pid, pane_dead, alternate_on, cursor_flag."""
        return self.tmux("display-message", "-p", "#{%s}" % variable).strip()

    def end(self):
        self.tmux("kill-server")


def top(node, *words, **more):
    """`pintle top` on a terminal."""
    return Terminal(node, BUILD / "pintle", "--bpffs", node.bpffs, "top", *words, **more)
