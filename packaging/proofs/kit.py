"""A kit made of this tree, carried to an empty system without network, and installed there by an ordinary user.

    python packaging/proofs/kit.py

As root, on Debian or a relative, with debootstrap, unshare and chroot, and a network to make the kit with. All is done in a temporary
folder, which is removed at the end. The first run compiles llama.cpp, which takes some minutes; the wheel is kept where `qwq kit make`
keeps it.
`--root FOLDER` takes a system that was made before, and `--keep` leaves everything where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from empty_system import (
    HERE,
    USER,
    WAIT_SECONDS,
    Empty,
    Table,
    end,
    error_of,
    fill,
    indented,
    kill_after,
    last_line,
    megabytes,
    must,
    qwq,
    say,
    small_disk,
)

MODEL: Final = "QwQ-32B:Q4_K_M"
QUESTION: Final = "What is 47 + 85?"
ANSWER: Final = "132"
KILLS: Final = 6
"""At so many moments of an installation it is killed."""
SMALL_MIB: Final = 420
PORT: Final = 8099
CLIENT: Final = f"""
import json, time, urllib.request
question = {{"model": "qwq-32b", "seed": 1, "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}
request = urllib.request.Request("http://127.0.0.1:{PORT}/v1/chat/completions", json.dumps(question).encode())
request.add_header("Content-Type", "application/json")
for _ in range(600):
    try:
        print(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
        break
    except OSError:
        time.sleep(0.2)
"""


def main() -> int:
    """Make all of it, and say what was seen; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="an empty system that was made before")
    parser.add_argument("--kit", type=Path, help="a kit that was made before")
    parser.add_argument("--keep", action="store_true", help="leave everything where it is")
    options = parser.parse_args()
    lacking = [name for name in ("debootstrap", "unshare", "chroot") if not shutil.which(name)]
    if lacking or os.geteuid():
        say(f"This needs root and {', '.join(lacking or ['debootstrap'])}.")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="qwq-kit-proof-"))
    table = Table()
    try:
        prove(options.root or make_system(folder, table), options.kit or make_kit(folder, table), table)
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    say(f"\n{sum(row[2] for row in table.rows)} of {len(table.rows)} as promised")
    return 0 if table.is_right else 1


def make_system(folder: Path, table: Table) -> Path:
    """An empty system."""
    root = folder / "root"
    began = time.monotonic()
    must(["debootstrap", "--variant=minbase", "--include=python3,iproute2", "bookworm", str(root)])
    table.add("an empty system", f"{megabytes(root)}, {time.monotonic() - began:.0f} s", is_right=True)
    return root


def make_kit(folder: Path, table: Table) -> Path:
    """A kit of this tree, whose model is the nano checkpoint under the name of a quantization of QwQ-32B."""
    models, kit = folder / "models", folder / "kit"
    must([*qwq(), "convert", str(HERE / "tests/nano/checkpoint"), "--out", str(models), "--quant", "Q4_K_M"])
    [made] = models.glob("*.gguf")
    made.rename(models / "QwQ-32B-Q4_K_M.gguf")
    environment = os.environ | {"QWQ_MODELS": str(models)}
    began = time.monotonic()
    must([*qwq(), "kit", "make", str(kit), "--quant", "Q4_K_M", "--python", "3.11"], environment)
    seconds = time.monotonic() - began
    began = time.monotonic()
    must([*qwq(), "kit", "make", str(kit), "--quant", "Q4_K_M", "--python", "3.11"], environment)
    table.add(
        "qwq kit make", f"{megabytes(kit)}, {seconds:.0f} s; again {time.monotonic() - began:.0f} s", is_right=(kit / "kit.json").is_file()
    )
    return kit


def prove(root: Path, kit: Path, table: Table) -> None:
    """Every promise, one after the other."""
    system = Empty(root)
    inside = root / "kit"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(kit, inside)
    seconds = installs(system, table)
    answers(system, table)
    survives_kills(system, seconds, table)
    keeps_the_old_one(system, seconds, table)
    refuses_damage(system, kit, table)
    refuses_other_machines(system, table)
    refuses_old_pythons(kit, table)
    refuses_what_cannot_be_written(system, table)
    survives_a_full_disk(system, seconds, table)
    goes_away(system, table)


def installs(system: Empty, table: Table) -> float:
    """The seconds that it took."""
    code, said = system.run(
        "cat /proc/net/dev | tail -n +3 | cut -d: -f1; tail -n +2 /proc/net/route; cat /proc/net/ipv6_route | grep -v ' lo$'"
    )
    table.add("the network inside", f"interfaces: {said.split()}", is_right=said.split() == ["lo"])
    code, said = system.run("id -u; python3 --version; python3 -m pip --version; python3 -m ensurepip --version; which gcc cc c++ qwq")
    table.add(
        "what is there before", " / ".join(said.split("\n")), is_right="No module named pip" in said and "No module named ensurepip" in said
    )
    began = time.monotonic()
    code, said = system.run("cd /tmp && /kit/install")
    seconds = time.monotonic() - began
    say(indented(said))
    table.add(
        "./install as an ordinary user",
        f"exit {code}, {seconds:.0f} s, {megabytes(system.root / 'home/user')}",
        is_right=code == 0 and ANSWER in said,
    )
    began = time.monotonic()
    code, said = system.run("/kit/install")
    table.add("./install once more", f"exit {code}, {time.monotonic() - began:.0f} s", is_right=code == 0 and "installed already" in said)
    return seconds


def answers(system: Empty, table: Table) -> None:
    """The program that was installed does what it is for."""
    for model in ("demo", MODEL):
        code, said = system.run(f'qwq ask -m {model} --seed 1 --no-thoughts "{QUESTION}"')
        table.add(f"qwq ask -m {model}", last_line(said), is_right=code == 0 and ANSWER in said)
    code, said = system.run("qwq list && qwq verify")
    table.add("qwq list, qwq verify", said.splitlines()[-2][:90], is_right=code == 0 and MODEL in said and "sound" in said)
    code, said = system.run("qwq kit check /kit")
    table.add("qwq kit check, in there", last_line(said), is_right=code == 0 and said.startswith("sound"))
    began = time.monotonic()
    code, said = system.run("qwq kit make ~/second --quant Q4_K_M && qwq kit check ~/second")
    table.add(
        "a kit made of the kit, in there", f"{last_line(said)}, {time.monotonic() - began:.0f} s", is_right=code == 0 and "sound" in said
    )
    (system.root / "client.py").write_text(CLIENT, "utf-8")
    code, said = system.run(f"qwq serve -m demo --port {PORT} 2>/tmp/log & python3 /client.py; kill -INT $!; wait $!")
    table.add("qwq serve, asked from inside", last_line(said), is_right=ANSWER in said)


def survives_kills(system: Empty, seconds: float, table: Table) -> None:
    """Killed at several moments, it is installed by the next run."""
    for number in range(KILLS):
        home, moment = f"/home/killed{number}", seconds * (number + 0.5) / KILLS
        was_running, left = kill_after(system, home, moment)
        code, said = system.run(f'/kit/install && qwq ask -m demo --seed 1 --no-thoughts "{QUESTION}"', home)
        seen = f"{'was at it' if was_running else 'had ended'}, left {left}; then exit {code}"
        table.add(f"kill -9 after {moment:.0f} s, ./install again", seen, is_right=code == 0 and ANSWER in last_line(said))
        system.forget(home)


def keeps_the_old_one(system: Empty, seconds: float, table: Table) -> None:
    """While a newer kit is put in place, and when that is killed, the one before it answers."""
    program = system.root / "home/user/.local/share/qwq-local/app/qwq-kit.json"
    program.write_text(json.dumps({"kit_id": "an older one", "kit": "/kit"}), "utf-8")
    process = system.start("/kit/install")
    time.sleep(seconds / 2)
    code, said = system.run(f'qwq ask -m demo --seed 1 --no-thoughts "{QUESTION}"')
    was_running = process.poll() is None
    end(process)
    code_after, said_after = system.run(f'qwq ask -m demo --seed 1 --no-thoughts "{QUESTION}"')
    both = code == code_after == 0 and ANSWER in said and ANSWER in said_after
    table.add("an upgrade half done, and killed", f"the old one answers: {last_line(said)}", is_right=both and was_running)
    code, said = system.run(f'/kit/install && qwq ask -m demo --seed 1 --no-thoughts "{QUESTION}"')
    upgraded = json.loads(program.read_text("utf-8"))["kit_id"] != "an older one"
    table.add("the upgrade, run again", f"exit {code}, {last_line(said)}", is_right=code == 0 and upgraded and ANSWER in said)


def refuses_damage(system: Empty, kit: Path, table: Table) -> None:
    """A file with a wrong byte is named, and nothing is installed."""
    wheel = next(kit.glob("wheels/numpy-*.whl")).relative_to(kit)
    for path in (wheel, Path("models/QwQ-32B-Q4_K_M.gguf"), Path("installer/place.py"), Path("kit.json")):
        damaged = system.root / "kit" / path
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
        code, said = system.run("/kit/install", "/home/damaged")
        is_there = (system.root / "home/damaged/.local/bin/qwq").exists()
        is_named = error_of(said).startswith("error: The kit is damaged:") and path.name in said
        table.add(f"a wrong byte in {path.name}", error_of(said), is_right=code == 1 and is_named and not is_there)
        if path == wheel:
            code, said = system.run("qwq kit check /kit")
            table.add("qwq kit check of it", said.splitlines()[0], is_right=code == 1 and str(path) in said and "qwq kit make /kit" in said)
        damaged.write_bytes(whole)
        system.forget("/home/damaged")
    (system.root / "kit" / wheel).rename(system.root / "away.whl")
    code, said = system.run("/kit/install", "/home/damaged")
    table.add("a wheel that is gone", error_of(said), is_right=code == 1 and f"{wheel} is missing" in said)
    (system.root / "away.whl").rename(system.root / "kit" / wheel)


def refuses_other_machines(system: Empty, table: Table) -> None:
    """What a kit is for is compared with what is here."""
    manifest = system.root / "kit/kit.json"
    whole = manifest.read_text("utf-8")
    for change, expected in (
        ({"platform": "linux-aarch64"}, "This kit is for linux-aarch64; this machine is linux-x86_64."),
        ({"glibc": "2.99"}, "This kit needs glibc 2.99 or newer; here is 2.36."),
        ({"cpu_flags": ["avx2048"]}, "compiled for processors with avx2048"),
        ({"pythons": ["3.12", "3.13"]}, "This kit needs Python 3.12 or 3.13; /usr/bin/python3 is 3.11."),
    ):
        manifest.write_text(json.dumps(json.loads(whole) | change), "utf-8")
        code, said = system.run("/kit/install", "/home/other")
        table.add(f"a kit for {change}", error_of(said), is_right=code == 1 and expected in said)
    manifest.write_text(whole, "utf-8")
    pythons = list((system.root / "usr/bin").glob("python3*"))
    for python in pythons:
        python.rename(python.with_name("away-" + python.name))
    code, said = system.run("/kit/install", "/home/other")
    table.add("no Python at all", error_of(said), is_right=code == 1 and "This kit needs Python 3.11; there is no Python here." in said)
    for python in pythons:
        python.with_name("away-" + python.name).rename(python)


def refuses_old_pythons(kit: Path, table: Table) -> None:
    """Pythons that this machine has besides are told which is needed."""
    others = [path for path in sorted(Path.home().glob(".pyenv/versions/*/bin/python3")) if "3.11" not in str(path)]
    for python in others:
        done = subprocess.run([str(kit / "install"), "--python", str(python)], capture_output=True, text=True, check=False)
        table.add(
            f"Python {python.parents[1].name}", error_of(done.stderr), is_right=done.returncode == 1 and "needs Python 3.11" in done.stderr
        )


def refuses_what_cannot_be_written(system: Empty, table: Table) -> None:
    """A folder that is not the user's."""
    code, said = system.run("/kit/install --to /usr/share/qwq", "/home/other")
    table.add(
        "a folder that may not be written",
        error_of(said),
        is_right=code == 1 and "/usr/share/qwq cannot be written: Permission denied" in said,
    )
    foreign = system.root / "home/other/mine/app"
    foreign.mkdir(parents=True)
    (foreign / "letter.txt").write_text("mine", "utf-8")
    shutil.chown(foreign.parent, USER, USER)
    code, said = system.run("/kit/install --to ~/mine", "/home/other")
    table.add("a folder with somebody's files", error_of(said), is_right=code == 1 and (foreign / "letter.txt").exists())
    system.forget("/home/other")


def survives_a_full_disk(system: Empty, seconds: float, table: Table) -> None:
    """Too small a disk is told of before anything is done; one that fills up meanwhile loses nothing."""
    with small_disk(system.root / "small", 100):
        code, said = system.run("/kit/install --to /small/qwq", "/home/full")
        table.add("a disk of 100 MiB", error_of(said), is_right=code == 1 and "has" in said and "free" in said)
    with small_disk(system.root / "small", SMALL_MIB):
        process = system.start("/kit/install --to /small/qwq", "/home/full")
        time.sleep(min(3.0, seconds / 5))
        fill(system.root / "small/filler")
        said, _ = process.communicate(timeout=WAIT_SECONDS)
        table.add(
            "a disk that fills up", error_of(said), is_right=process.returncode == 1 and ("disk is full" in said or "No space" in said)
        )
        (system.root / "small/filler").unlink()
        code, said = system.run(f'/kit/install --to /small/qwq && qwq ask -m demo --seed 1 --no-thoughts "{QUESTION}"', "/home/full")
        table.add("room made, ./install again", f"exit {code}, {last_line(said)}", is_right=code == 0 and ANSWER in last_line(said))
    system.forget("/home/full")


def goes_away(system: Empty, table: Table) -> None:
    """What was installed can be removed, and the model stays."""
    code, said = system.run("qwq uninstall --yes && find ~/.local/bin ~/.local/share ! -type d")
    left = [line for line in said.splitlines() if line.startswith("/home/user/.local")]
    is_gone = code == 0 and bool(left) and all("share/qwq/models" in line for line in left)
    table.add("qwq uninstall", f"left: {', '.join(Path(line).name for line in left)}"[:120], is_right=is_gone)


if __name__ == "__main__":
    sys.exit(main())
