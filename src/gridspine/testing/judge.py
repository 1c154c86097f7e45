"""Judges one adapter: every rule that is said to be done and can be seen is looked at; the level follows."""

import asyncio
from collections.abc import Collection

from gridspine.testing.bench import Bench
from gridspine.testing.candidate import Candidate
from gridspine.testing.checks import CHECKS
from gridspine.testing.quality import Claim, Quality, complaints
from gridspine.testing.rules import LEVELS, rules
from gridspine.testing.verdict import Failed, Finding, State, Verdict

_MOST_S = 120.0
"""Real time after which a check is given up [s]."""


async def judge(candidate: Candidate, *, only: Collection[str] = (), patience_s: float = 5.0) -> Verdict:
    """Return what becomes of each rule; ``only`` looks at these rules alone. Nothing is raised for what fails.

    ``patience_s`` [s] is how long real things are waited for beside virtual time.
    """
    findings = [
        await _find(candidate, name, patience_s) for name in rules() if not only or name in only
    ]  # fmt: skip
    findings += [_claimed(name, "own", claim) for name, claim in candidate.quality.own.items() if not only]
    return Verdict(
        candidate.name, candidate.package, candidate.version, candidate.quality.level,
        level_of(candidate.quality, {one.rule for one in findings if one.state == "failed"}), tuple(findings),
    )  # fmt: skip


def level_of(quality: Quality, failed: Collection[str] = ()) -> str:
    """Return the highest level of which, and of those beneath it, every rule is done or exempt, and none ``failed``."""
    reached = "none"
    for level in LEVELS:
        for name, rule in rules().items():
            claim = quality.rules.get(name)
            if rule.level == level and (name in failed or claim is None or claim.status == "todo"):
                return reached
        reached = level
    return reached


async def _find(candidate: Candidate, name: str, patience_s: float) -> Finding:
    rule = rules()[name]
    if name == "described":
        commands = candidate.make_rig is not None and candidate.make_rig().commands
        said = list(complaints(candidate.quality, candidate.folder, candidate.tests, commands=commands))
        return Finding(name, rule.level, "failed" if said else "passed", "; ".join(said))
    claim = candidate.quality.rules.get(name)
    if claim is None:
        state: State = "todo" if candidate.quality.level == "none" else "failed"
        return Finding(name, rule.level, state, "quality.toml says nothing of it")
    if claim.status != "done" or not rule.check:
        return _claimed(name, rule.level, claim)
    if candidate.make_rig is None:
        if claim.test:
            return _claimed(name, rule.level, claim)
        return Finding(name, rule.level, "failed", "said to be done, and there is no rig.py to see it by")
    bench = Bench(candidate.name, candidate.make, candidate.make_rig, candidate.quality, patience_s)
    try:
        async with asyncio.timeout(_MOST_S):
            await CHECKS[name](bench)
    except Failed as failure:
        return Finding(name, rule.level, "failed", str(failure))
    except TimeoutError:
        return Finding(name, rule.level, "failed", f"not over within {_MOST_S:g} s")
    except Exception as error:
        return Finding(name, rule.level, "failed", f"{type(error).__name__}: {error}")
    return Finding(name, rule.level, "passed")


def _claimed(name: str, level: str, claim: Claim) -> Finding:
    if claim.status == "done":
        return Finding(name, level, "claimed", claim.test or claim.document)
    return Finding(name, level, claim.status, claim.reason)
