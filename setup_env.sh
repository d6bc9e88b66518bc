# shellcheck shell=bash
# The virtual environment that quickstart.sh and run_tests.sh work in. To be sourced from the repository's root:
#
#     . ./setup_env.sh requirements.txt
#
# finds a Python (at least 3.10; $PYTHON names another), makes .venv, installs the list if it has changed since the last
# time, and activates the environment.

setup_fail() {
    echo "setup: $1" >&2
    exit 1
}

setup_find_python() {
    local candidate found=""
    for candidate in ${PYTHON:-python3 python python3.13 python3.12 python3.11 python3.10}; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        found="$found $candidate"
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    setup_fail "Python 3.10 or later is needed; found:${found:- none}. Install it, or name one: PYTHON=/path/to/python3 $0"
}

setup_env() {
    local list=$1 python stamp wanted
    [ -f "$list" ] || setup_fail "$list is not here; start from the repository's root"
    if [ ! -x .venv/bin/python ]; then
        python=$(setup_find_python) || exit 1
        "$python" -c 'import venv, ensurepip' 2>/dev/null ||
            setup_fail "$python cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv"
        echo "setup: making .venv with $("$python" --version)"
        "$python" -m venv .venv || { rm -rf .venv; setup_fail "could not make .venv"; }
    fi
    # shellcheck disable=SC1091
    . .venv/bin/activate
    stamp=.venv/.installed-$list
    wanted=$(cat requirements*.txt pyproject.toml | cksum; pwd)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "setup: installing $list into .venv (some minutes the first time)"
        python -m pip install --quiet --disable-pip-version-check wheel &&
            python -m pip install --quiet --disable-pip-version-check -r "$list" ||
            setup_fail "pip could not install $list; the lines above say why"
        echo "$wanted" >"$stamp"
        echo "setup: done"
    fi
}

setup_env "$1"

# Without a GPU, DeepSpeed is told so; left alone it prints a warning in each process.
command -v nvidia-smi >/dev/null 2>&1 || export DS_ACCELERATOR=${DS_ACCELERATOR:-cpu}
