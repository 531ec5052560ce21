"""Holds our verdicts against those of other implementations.

usage: compare.py CASES IMPLEMENTATION=VERDICTS...

Fails for a difference that differences.json does not list, and for one listed that does not show.
"""

import collections
import fnmatch
import json
import pathlib
import re
import sys

IMPLEMENTATIONS = {"pyjwt", "joserfc", "jose", "go-jose"}
LEAST_CASES = 10000
SHOWN = 20


def lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


def changes(name):
    """What was changed about a token: its name is SOURCE/KEY/CHANGE + CHANGE/NUMBER."""
    return name.split("/")[2].split(" + ")


def listed():
    """Each listed pattern with its implementation and whether it has shown: [[...], ...]."""
    for entry in json.loads(pathlib.Path(__file__).with_name("differences.json").read_text()):
        missing = {"cases", "who", "ours", "right", "by", "why"} ^ set(entry)
        if missing or entry["right"] not in ("ours", "both"):
            sys.exit(f"a difference that is not well formed: {entry}")
        for case in entry["cases"]:
            matches = re.compile(fnmatch.translate(case)).match
            for implementation in entry["who"]:
                yield {"case": case, "implementation": implementation, "ours": entry["ours"],
                       "matches": matches, "shown": 0}


cases = lines(sys.argv[1])
differences = list(listed())
results = dict(argument.split("=", 1) for argument in sys.argv[2:])
agreeing = collections.Counter()
problems, table = [], []

if len(cases) < LEAST_CASES:
    problems.append(f"{len(cases)} cases only")
if len({case["name"] for case in cases}) != len(cases):
    problems.append("two cases have one name")
if unknown := {difference["implementation"] for difference in differences} - IMPLEMENTATIONS:
    problems.append(f"differences.json names {sorted(unknown)}, which are no implementations")

for implementation, path in results.items():
    verdicts = {verdict["name"]: verdict for verdict in lines(path)}
    own = [difference for difference in differences if difference["implementation"] == implementation]
    agreed = known = unlisted = unforeseen = 0
    for case in cases:
        verdict = verdicts.get(case["name"])
        if verdict is None:
            problems.append(f"{implementation} has no verdict on {case['name']}")
            continue
        unforeseen += not verdict.get("foreseen", True)
        if (case["ours"] == "accepted") == (verdict["verdict"] == "accepted"):
            agreed += 1
            agreeing[case["name"]] += 1
            continue
        shown = [difference for difference in own
                 if difference["ours"] == case["ours"]
                 and any(map(difference["matches"], changes(case["name"])))]
        for difference in shown:
            difference["shown"] += 1
        known += bool(shown)
        unlisted += not shown
        if not shown:
            theirs = verdict.get("error", verdict["verdict"])
            problems.append(f"{case['name']}: we say {case['ours']}, {implementation} {theirs}")
    stale = [difference for difference in own if not difference["shown"]]
    for difference in stale:
        problems.append(f"{implementation}: {difference['case']!r} ({difference['ours']}) is listed, "
                        "and shows no more")
    accepted = sum(verdict["verdict"] == "accepted" for verdict in verdicts.values())
    table.append((implementation, len(cases), accepted, agreed, known, unlisted, len(stale), unforeseen))

for problem in problems[:SHOWN]:
    print(problem)
if len(problems) > SHOWN:
    print(f"and {len(problems) - SHOWN} more")
heads = ("", "cases", "accepts", "agrees", "listed", "unlisted", "stale", "crashed")
for row in (heads, *table):
    print(f"{row[0]:<10}" + "".join(f"{cell:>10}" for cell in row[1:]))
several = sum(agreeing[case["name"]] >= 2 for case in cases)
accepted = sum(case["ours"] == "accepted" for case in cases)
print(f"{len(cases)} cases, {accepted} accepted by us, {several} verdicts shared by two others or more, "
      f"{len(problems)} problems")
sys.exit(1 if problems else 0)
