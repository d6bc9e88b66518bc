#!/usr/bin/env bash
# Test the oldest and the newest of each dependency's range, each in an environment of its own. By hand, or nightly.
#
#   tests/versions.sh [pytest's arguments]
#
# makes $VERSIONS_DIR/oldest and $VERSIONS_DIR/newest (default: /tmp/summarize_rlhf_versions), runs the tests in each
# and prints a table: what was installed, and how the tests ended. Half an hour on two cores for all tests.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${VERSIONS_DIR:-/tmp/summarize_rlhf_versions}
mkdir -p "$root"
[ $# -gt 0 ] || set -- -q -n 2 --dist worksteal

# The first version of each range in requirements.txt as `name==version`.
oldest() { sed -nE 's/^([a-z0-9-]+)>=([0-9.]+).*/\1==\2/p' requirements.txt; }

code=0
for which in oldest newest; do
    env=$root/$which
    [ -x "$env/bin/python" ] || "${PYTHON:-python3}" -m venv "$env"
    if [ "$which" = oldest ]; then oldest >"$root/oldest.txt"; else : >"$root/newest.txt"; fi
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade wheel \
        -r requirements-dev.txt -c "$root/$which.txt"
    printf '\n=== %s: ' "$which"
    "$env/bin/python" -m pip list --format=freeze 2>/dev/null | grep -E "^($(oldest | cut -d= -f1 | paste -sd'|'))==" | paste -sd' '
    ended=0
    PATH=$env/bin:$PATH PYTHONPATH=$PWD OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
        "$env/bin/python" -m pytest "$@" || ended=$?
    if [ $ended -eq 0 ]; then echo "=== $which: passed"; else echo "=== $which: FAILED"; code=1; fi
done
exit $code
