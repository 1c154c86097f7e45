#!/usr/bin/env bash
# Runs the core of the fast tests on each Python the project promises and this machine has, besides its own.
# Usage: tools/pythons.sh [3.12 3.13 …]
set -euo pipefail
cd "$(dirname "$0")/.."
own="$(uv run --locked python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
core=(tests/kernel tests/infra tests/things tests/sharing)
core+=(tests/adapters/wot_http/test_proof.py)  # TLS by a shared key is there from 3.13 on
# What is left open is an error on the project's own Python; on another, which notices other things, it is shown.
shown=(-W default::pytest.PytestUnraisableExceptionWarning)

python_of() {  # python_of 3.12: print the path of such a Python, fail when there is none
  local path
  for path in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python /usr/local/bin/"python$1"; do
    if [ -x "$path" ] && [ "$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
      echo "$path"
      return
    fi
  done
  return 1
}

ran=() missing=() failed=()
for version in "${@:-3.11 3.12 3.13}"; do for one in $version; do
  if [ "$one" = "$own" ]; then continue; fi
  if ! python="$(python_of "$one")"; then missing+=("$one"); continue; fi
  printf '\n-- Python %s: %s\n' "$one" "$python"
  environment="$(mktemp -d)"
  UV_PROJECT_ENVIRONMENT="$environment" uv run --locked --python "$python" pytest -rs "${shown[@]}" -m "not slow" -n 3 --dist loadfile "${core[@]}" \
    && ran+=("$one") || failed+=("$one")
  rm -rf "$environment"
done; done
echo "Python $own is the project's own here; besides it passed: ${ran[*]:-none}; failed: ${failed[*]:-none}; not on this machine: ${missing[*]:-none}"
[ "${#failed[@]}" -eq 0 ]
