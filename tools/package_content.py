"""``package_content.py WHEEL SDIST``: what the repository has under ``src`` is in both, and no more in the wheel."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MUST = ("gridspine/py.typed", "gridspine/apps/policies/node.cedar", "gridspine/apps/portal/templates/base.html",
        "gridspine/apps/portal/static/portal.css", "gridspine/energy/models/meter.tm.json",
        "gridspine/adapters/modbus/models/battery.json", "gridspine/infra/registry/migrations/env.py")  # fmt: skip


def tracked() -> set[str]:
    """Return the paths under ``src`` that belong to the package."""
    words = ["git", "ls-files", "src"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {line.removeprefix("src/") for line in listed.splitlines() if (ROOT / line).exists()}


def main(wheel: Path, sdist: Path) -> None:
    """Raise `SystemExit` with what is missing, or should not be there."""
    ours = tracked()
    with zipfile.ZipFile(wheel) as packed:
        in_wheel = {name for name in packed.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as packed_too:
        names = {name.partition("/")[2] for name in packed_too.getnames()}
    in_sdist = {name.removeprefix("src/") for name in names if name.startswith("src/")}
    faults = [f"the wheel lacks {name}" for name in sorted((ours | set(MUST)) - in_wheel)]
    faults += [f"the sdist lacks {name}" for name in sorted(ours - in_sdist)]
    faults += [f"the wheel has {name} besides" for name in sorted(in_wheel - ours) if not name.startswith("gridspine/")]
    if faults:
        raise SystemExit("\n".join(faults))
    sys.stdout.write(f"{wheel.name}: {len(in_wheel)} files; {sdist.name}: {len(names)} entries\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
