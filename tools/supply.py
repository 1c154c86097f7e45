"""What this project is made of: a bill of materials from the lock, and what is known against it.

``python tools/supply.py`` writes ``dist/sbom.cdx.json`` (CycloneDX 1.5, from ``uv.lock``) and asks pip-audit, which
asks the Python Package Index, about every locked version; ``--data`` notes the outcome for docs/security.md. An
advisory database that cannot be reached is said loudly and is no success: exit code 3. Something found: exit code 1.
"""

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SBOM = ROOT / "dist" / "sbom.cdx.json"
DATA = ROOT / "docs" / "data" / "security-supply.json"
AUDIT = "pip-audit==2.9.0"


def _uv() -> str:
    return shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


def write_bill() -> int:
    """Write the bill of materials of what is run (every extra, nothing of development); return its components."""
    SBOM.parent.mkdir(exist_ok=True)
    command = [
        _uv(),
        "export",
        "--locked",
        "--quiet",
        "--format",
        "cyclonedx1.5",
        "--all-extras",
        "--no-dev",
        "-o",
        str(SBOM),
    ]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return len(json.loads(SBOM.read_text())["components"])


def audit() -> tuple[str, list[dict[str, Any]], int]:
    """Return the verdict (clean, found, unreachable), what was found, and how many packages were asked about."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        export = [
            _uv(),
            "export",
            "--locked",
            "--quiet",
            "--all-extras",
            "--all-groups",
            "--no-emit-workspace",
            "-o",
            str(wanted),
        ]
        subprocess.run(export, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        ask = [
            "tool",
            "run",
            AUDIT,
            "-r",
            str(wanted),
            "--require-hashes",
            "--disable-pip",
            "-f",
            "json",
            "--progress-spinner",
            "off",
        ]
        done = subprocess.run([_uv(), *ask], check=False, capture_output=True, text=True, cwd=folder)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(done.stderr[-2000:], file=sys.stderr)
        return "unreachable", [], 0
    bad = [
        {"package": one["name"], "version": one["version"], "advisories": [v["id"] for v in one["vulns"]]}
        for one in packages
        if one.get("vulns")
    ]
    return ("found" if bad else "clean"), bad, len(packages)


def main() -> int:
    """Write, ask, say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", action="store_true", help=f"note the outcome in {DATA.name}")
    given = parser.parse_args()
    components = write_bill()
    print(f"{SBOM}: {components} components")
    verdict, bad, asked = audit()
    if verdict == "unreachable":
        print(
            "AUDIT NOT DONE: the advisory database cannot be reached from here. Nothing is known either way.",
            file=sys.stderr,
        )
    for one in bad:
        print(f"KNOWN: {one['package']} {one['version']}: {', '.join(one['advisories'])}", file=sys.stderr)
    if verdict == "clean":
        print(f"{asked} locked packages: nothing is known against them")
    if given.data:
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        noted = {"day": day, "verdict": verdict, "audited": asked, "found": bad, "components": components, "by": AUDIT}
        DATA.parent.mkdir(parents=True, exist_ok=True)
        DATA.write_text(json.dumps(noted, indent=1) + "\n")
    return {"clean": 0, "found": 1, "unreachable": 3}[verdict]


if __name__ == "__main__":
    sys.exit(main())
