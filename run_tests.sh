#!/usr/bin/env bash
# The tests, in their own environment: ./run_tests.sh [pytest's arguments], e.g. ./run_tests.sh tests/contract/test_text.py
# Without arguments, all of them, two at a time (`-n 0` for one).
set -euo pipefail
cd "$(dirname "$0")"
. ./setup_env.sh requirements-dev.txt

# Models are tiny: more threads per process only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} TOKENIZERS_PARALLELISM=false
[ $# -gt 0 ] || set -- -n 2 --dist worksteal
exec python -m pytest "$@"
