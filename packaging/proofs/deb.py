"""Prove the Debian package in a Debian made for it: python packaging/proofs/deb.py [DEB].

It is installed, its service started by a user, asked, killed, looked at, replaced, removed and purged, and what was there before is
compared with what is there after. Without DEB the app and the package are built first. Needs root, debootstrap and a mirror of Debian, and
builds nothing outside of a temporary folder. Prints what was asked and what was seen; ends with 1 where something is not as promised.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
TREE: Final = HERE.parents[1]
sys.path.insert(0, str(HERE))
from clean_root import USER, CleanRoot, Ran  # noqa: E402 - found by the line above
from deb_service import ADDRESS, QUESTION, WAIT_SECONDS, Service, Table, told_changes  # noqa: E402 - likewise

TAKER: Final = """perl -MIO::Socket::INET -e 'IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:8080") and sleep 600'"""


class Proof(Service):
    """The steps, each with its rows."""

    def __init__(self, root: CleanRoot, deb: Path, table: Table) -> None:
        super().__init__(root)
        self.row = table.row
        (root.folder / "root/qwq.deb").write_bytes(deb.read_bytes())
        self.before = root.listing()

    def run(self) -> None:
        """All of them."""
        self.install_package()
        self.refuse()
        self.install_service()
        self.use()
        self.look()
        self.kill()
        self.refuse_another()
        self.upgrade()
        self.fail_and_put_back()
        self.leave()
        self.enable_by_hand()

    def install_package(self) -> None:
        """The package alone."""
        done = self.root.root("dpkg -i /root/qwq.deb")
        size = self.root.root("dpkg-query -W -f '${Installed-Size}' qwq-local").out
        self.row(
            "dpkg -i, all Depends there",
            f"exit {done.code}, {done.seconds:.1f} s, {int(size) / 1024:.0f} MiB installed",
            holds=done.code == 0,
        )
        version = self.root.user("qwq --version")
        self.row("the user's qwq --version", version.out.strip(), holds=version.code == 0)
        active = self.root.user("systemctl --user is-enabled qwq.service").out.strip()
        self.row("nothing is started that nobody asked for", f"qwq.service is {active}", holds=active == "disabled")

    def refuse(self) -> None:
        """What cannot be is refused, and nothing stays of it."""
        installed = self.root.listing()
        self.told("no model here", self.root.user("qwq service install"), "qwq pull")
        self.told("a model that is not there", self.root.user("qwq service install -m /home/ann/none.gguf"), "none.gguf")
        self.root.user(f"systemd-run --user --quiet --unit=taker {TAKER}; sleep 1")
        self.told("the port taken", self.root.user("qwq service install -m demo"), "(perl)")
        self.root.user("systemctl --user stop taker")
        self.told("no permission", self.root.user("mkdir -p .config; chmod 500 .config; qwq service install -m demo"), "cannot be written")
        self.root.user("rmdir .config")
        self.told("sudo", self.root.root("SUDO_USER=ann qwq service install -m demo"), "Run the same without sudo")
        self.told("no systemd for this user", self.root.root("runuser -u nobody qwq service install -- -m demo"), "enable-linger nobody")
        left = self.changes(installed)
        self.row("nothing stays of what was refused", told_changes(left), holds=not left)

    def told(self, what: str, done: Ran, needle: str) -> None:
        """A row for what is refused."""
        line = next((line for line in done.out.splitlines() if line.startswith("error: ")), done.out.strip())
        self.row(f"refused: {what}", f"exit {done.code}: {line[:150]}", holds=done.code == 1 and needle in done.out)

    def install_service(self) -> None:
        """The service, and the same again."""
        self.place_models()
        done = self.root.user("qwq service install -m demo --keep-chats")
        self.row(
            "qwq service install -m demo --keep-chats",
            f"exit {done.code}, {done.seconds:.1f} s: {done.out.splitlines()[0]}",
            holds=done.code == 0,
        )
        again = self.root.user("qwq service install -m demo --keep-chats")
        self.row("the same again does nothing", f"exit {again.code}, {again.out.splitlines()[0]}", holds="there already" in again.out)

    def place_models(self) -> None:
        """The demo model under names of other programs' folders."""
        demo = "/usr/lib/qwq-local/_internal/qwq_local/demo/*.gguf"
        hub = ".cache/huggingface/hub/models--x--QwQ-32B-GGUF/snapshots/1"
        digest = "0" * 64
        layer = {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}]}
        manifests = ".ollama/models/manifests/h/library/qwq"
        self.root.user(
            f"mkdir -p {hub} {manifests} .ollama/models/blobs; echo '{json.dumps(layer)}' > {manifests}/32b-q4_K_M;"
            f"cp {demo} {hub}/QwQ-32B-Q8_0.gguf; cp {demo} .ollama/models/blobs/sha256-{digest}"
        )

    def use(self) -> None:
        """It answers, writes chats, keeps what it read, and reads models of other programs."""
        answer = self.answer()
        self.row(f"a chat request: {QUESTION}", answer, holds="132" in answer)
        for model, whose in (("QwQ-32B:Q8_0", "Hugging Face's cache"), ("QwQ-32B:Q4_K_M", "Ollama's folder")):
            answer = self.answer(model)
            self.row(f"a model from {whose} is loaded", answer, holds="132" in answer)
        self.answer()
        begun = self.ask("/chats", {"model": "demo", "content": QUESTION})
        chats = self.root.user("qwq history list")
        self.row("the page's chats are written", chats.out.strip()[:60], holds=bool(begun) and QUESTION[:9] in chats.out)
        self.until(lambda: (self.ask("/health") or {"running": 0})["running"] == 0)

    def look(self) -> None:
        """How it is confined, and what status says."""
        status = self.status()
        shown = {name: status[name] for name in ("running", "address", "model", "restarts", "starts")}
        self.row("qwq service status --json", json.dumps(shown), holds=bool(status["running"]) and status["address"] == ADDRESS)
        score = self.root.user("systemd-analyze --user security --no-pager qwq.service").out
        found = re.search(r"exposure level for qwq.service: ([\d.]+) (\w+)", score)
        self.row(
            "systemd-analyze --user security (least is best, of 10)",
            found[0] if found else score[-80:],
            holds=bool(found and float(found[1]) < 3),
        )
        kernel = self.root.root(
            f"grep -E '^(NoNewPrivs|Seccomp|CapBnd):' /proc/{status['pid']}/status; grep -E ' / ro[, ]' /proc/{status['pid']}/mountinfo"
        ).out
        is_so = all(re.search(pattern, kernel) for pattern in (r"NoNewPrivs:\s1", r"Seccomp:\s2", r"CapBnd:\s0{16}", " / ro,"))
        self.row("the kernel says so: no privileges, seccomp, / read-only", " ".join(kernel.split())[:90], holds=is_so)
        kept = self.root.user("find .cache/qwq/chats -type f | wc -l; stat -c %a .local/share/qwq").out.split()
        self.row(
            "what was read of chats is kept on disk; chats are private",
            f"{kept[0]} files, mode {kept[-1]}",
            holds=int(kept[0]) > 0 and kept[-1] == "700",
        )

    def kill(self) -> None:
        """The server is killed, and its engine."""
        before = self.status()
        engine = self.root.root(f"pgrep -P {before['pid']}").out.split()
        self.root.root(f"kill -9 {before['pid']}")
        seconds = self.until(lambda: self.is_healthy() and self.status()["pid"] not in {before["pid"], None})
        after, answer = self.status(), self.answer()
        alive = self.root.root(f"ps -o pid= -p {','.join(engine)}").out.strip() if engine else "?"
        seen = f"healthy after {seconds:.1f} s, pid {before['pid']} -> {after['pid']}, restarts {after['restarts']}, answers {answer}"
        self.row("kill -9 of the server", seen, holds=after["restarts"] == 1 and "132" in answer and not alive)
        engine = self.root.root(f"pgrep -P {after['pid']}").out.split()
        self.root.root(f"kill -9 {' '.join(engine)}")
        seconds = self.until(lambda: self.is_healthy() and self.root.root(f"pgrep -P {after['pid']}").out.split() not in ([], engine))
        last, answer = self.status(), self.answer()
        seen = f"healthy after {seconds:.1f} s, the server stays ({last['pid']}), restarts {last['restarts']}, answers {answer}"
        self.row("kill -9 of its engine", seen, holds=last["pid"] == after["pid"] and last["restarts"] == 1 and "132" in answer)

    def refuse_another(self) -> None:
        """A second service, and another one instead."""
        self.told("a second service", self.root.user("qwq service install -m demo --port 8081"), "--replace")
        self.row("the first one still answers", self.answer(), holds=self.is_healthy())

    def upgrade(self) -> None:
        """The package installed over itself."""
        before = self.status()["pid"]
        done = self.root.root("dpkg -i /root/qwq.deb")
        seconds = self.until(lambda: self.is_healthy() and self.status()["pid"] not in {before, None})
        self.row(
            "an upgrade starts it again",
            f"exit {done.code}, healthy after {seconds:.1f} s",
            holds=done.code == 0 and seconds < WAIT_SECONDS,
        )

    def fail_and_put_back(self) -> None:
        """A service that does not start, in place of one that runs."""
        drop_in = ".config/systemd/user/qwq.service.d"
        condition = 'ExecStartPre=/bin/sh -c "! grep -q alias %h/.config/systemd/user/qwq.service"'
        self.root.user(f"mkdir -p {drop_in}; printf '%s\\n' '[Service]' '{condition}' > {drop_in}/x.conf")
        done = self.root.user("qwq service install -m demo --keep-chats --alias other --replace")
        status = self.status()
        seen = f"exit {done.code}; the former runs: {status['running']}, {' '.join(status['command'][2:])}"
        self.row(
            "--replace by one that does not start", seen, holds=done.code == 1 and status["running"] and "--alias" not in status["command"]
        )
        self.root.user("rm -r .config/systemd/user/qwq.service.d")

    def leave(self) -> None:
        """Removed, and purged."""
        done = self.root.user("qwq service remove")
        self.row(
            "qwq service remove", f"exit {done.code}, {done.out.splitlines()[0]}", holds=done.code == 0 and self.ask("/health") is None
        )
        self.purge("remove, then purge")

    def enable_by_hand(self) -> None:
        """The package's own unit, by systemctl; purged while it runs."""
        self.root.root("dpkg -i /root/qwq.deb")
        self.root.user("mkdir -p .config/qwq; echo 'model = \"demo\"' > .config/qwq/config.toml; systemctl --user enable --now qwq")
        seconds = self.until(self.is_healthy)
        answer, status = self.answer(), self.status()
        seen = f"answers {answer} after {seconds:.1f} s, {status['file']}"
        self.row("systemctl --user enable --now qwq", seen, holds="132" in answer and status["file"].startswith("/usr/lib/systemd"))
        again = self.root.user("qwq service install")
        self.row("qwq service install gets along with it", again.out.splitlines()[0], holds="there already" in again.out)
        done = self.root.root("dpkg --purge qwq-local")
        left = self.root.root("pgrep -f '^/usr/lib/[q]wq-local'").out.split()
        self.row("purged while it runs", f"exit {done.code}, processes left: {len(left)}", holds=done.code == 0 and not left)
        self.root.user("systemctl --user disable --quiet qwq 2>/dev/null; rm -r .config")
        self.purge("by hand, then purge")

    def purge(self, how: str) -> None:
        """Purge the package, and compare all that is there with what was before."""
        self.root.root("dpkg --purge qwq-local")
        known = self.root.root("dpkg -l qwq-local 2>&1 | grep -c '^[a-z][a-z] '").out.strip()
        left = self.changes(self.before)
        self.row(
            f"{how}: the whole root is as before",
            f"{len(self.before)} files compared, {told_changes(left)}",
            holds=not left and known == "0",
        )
        kept = (self.root.folder / f"home/{USER}/.local/share/qwq").is_dir()
        self.row("the user's chats stay", "they are there" if kept else "gone", holds=kept)


def build(folder: Path) -> Path:
    """The package, from this tree."""
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    for command in (
        ["packaging/app/build.py", str(folder / "app")],
        ["packaging/deb/build.py", str(folder / "app/qwq-local"), str(folder / "deb")],
    ):
        subprocess.run([python, *command], cwd=TREE, check=True, stdout=sys.stderr)
    return next((folder / "deb").glob("*.deb"))


def needed(deb: Path) -> list[str]:
    """The packages that it depends on."""
    told = subprocess.run(["dpkg-deb", "-f", str(deb), "Depends"], capture_output=True, text=True, check=True).stdout  # noqa: S607 - a fixed command
    return [re.sub(r"\s*[(|].*", "", each.strip()) for each in told.split(",") if each.strip()]


def main() -> int:
    """Prove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deb", type=Path, nargs="?", metavar="DEB", help="the package [default: built from this tree]")
    asked = parser.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory(prefix="qwq-proof-") as folder:
        deb = asked.deb or build(Path(folder))
        sys.stdout.write(f"{deb.name}, {deb.stat().st_size / 1e6:.1f} MB, needs {', '.join(needed(deb))}\n")
        with CleanRoot(Path(folder) / "root", needed(deb)) as root:
            Proof(root, deb, table).run()
    sys.stdout.write(f"{table.n_wrong} not as promised\n")
    return int(table.n_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
