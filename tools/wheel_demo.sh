#!/usr/bin/env bash
# Builds wheel and sdist, looks at what is in them, installs the wheel into a fresh environment outside of the
# repository, with the libraries of the lock, and runs the demo from there.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
uv build --quiet --out-dir "$folder/dist"
wheel="$(echo "$folder"/dist/*.whl)"
python3 tools/package_content.py "$wheel" "$folder"/dist/*.tar.gz
uv export --quiet --locked --no-dev --no-emit-project --extra demo --extra otel -o "$folder/requirements.txt" >/dev/null
uv venv --quiet --python "$(uv run --locked python -c 'import sys; print(sys._base_executable)')" "$folder/venv"
uv pip install --quiet --python "$folder/venv" --require-hashes -r "$folder/requirements.txt"
uv pip install --quiet --python "$folder/venv" --no-deps "$wheel"
cd "$folder"
env -u PYTHONPATH -u VIRTUAL_ENV PATH="$folder/venv/bin:$PATH" bash -euo pipefail -c '
  python -c "import gridspine, sys; assert gridspine.__file__.startswith(sys.prefix), gridspine.__file__"
  gridspine version
  gridspine demo --seconds 20 --json --data "$PWD/demo" | tail -n 1'
echo "the demo ran from $(basename "$wheel")"
