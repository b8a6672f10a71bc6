"""A program that speaks GDB/MI out of a script: where faults are forced.

    python fake_gdb.py RULES.json LOG [gdb's own words, ignored]

RULES is a list of objects, tried in order for each command line: ``match`` (a regular expression of the
command without its token), ``say`` (what is written, ``TOKEN`` replaced; default ``TOKEN^done``), ``delay``
(seconds before), ``scratch`` (hex bytes put into the file that the command names), ``pieces`` (write byte by
byte), ``die`` (exit afterwards), ``once`` (used up by its first match). Every command is appended to LOG."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from typing import Any

DONE = "TOKEN^done\n(gdb) \n"


def answer(rules: list[dict[str, Any]], token: str, command: str) -> dict[str, Any]:
    """The rule for ``command``."""
    for rule in rules:
        if re.search(rule["match"], command):
            if rule.get("once"):
                rules.remove(rule)
            return rule
    return {}


def main() -> None:
    """Answer until standard input ends."""
    with open(sys.argv[1], encoding="utf-8") as file:
        rules = json.load(file)
    os.write(1, b'=thread-group-added,id="i1"\n(gdb) \n')
    with open(sys.argv[2], "a", encoding="utf-8") as log:
        for line in sys.stdin.buffer:
            found = re.match(r"(\d*)(.*)", line.decode().rstrip("\n"))
            assert found is not None
            token, command = found[1], found[2]
            log.write(command + "\n")
            log.flush()
            rule = answer(rules, token, command)
            time.sleep(rule.get("delay", 0))
            if "scratch" in rule:
                named = re.search(r"/proc/self/fd/\d+", command)
                assert named is not None
                with open(named[0], "wb") as scratch:
                    scratch.write(bytes.fromhex(rule["scratch"]))
            said = rule.get("say", DONE).replace("TOKEN", token).encode("latin-1")
            for piece in [said[at : at + 1] for at in range(len(said))] if rule.get("pieces") else [said]:
                os.write(1, piece)
            if rule.get("die"):
                os._exit(1)
        log.write("<end of input>\n")


if __name__ == "__main__":
    main()
