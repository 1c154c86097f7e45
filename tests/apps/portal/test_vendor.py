"""The vendored libraries are those the table names."""

import hashlib
import re

from gridspine.apps.portal.page import STATIC


def test_every_vendored_file_is_in_the_table_with_its_sum() -> None:
    folder = STATIC / "vendor"
    table = dict(re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", (folder / "VENDOR.md").read_text(), re.MULTILINE))
    code = {path.name for path in folder.iterdir() if path.suffix in {".js", ".css"}}
    assert set(table) == code
    for name, expected in table.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected, name
    assert all((folder / f"{name.split('.')[0]}.LICENSE").exists() for name in code)
