#!/bin/sh
# Makes the virtual environment and installs the project, its extras and its tools into it.
#   sh scripts/venv.sh VENV STAMP
# PYTHON chooses the interpreter. Without it the first of the usual names is taken that is new enough
# and was built with optimisations: without them everything here takes a sixth longer, or more. If
# there is none, one without will do.
set -eu

venv=$1
stamp=$2

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Whether profile-guided optimisation was asked for when it was built, as it says itself. What a
# distribution puts into /usr/bin has it, and does not always say so.
optimised() {
    "$1" -c '
import ensurepip, os, sys, sysconfig, venv
said = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
packaged = os.path.dirname(os.path.realpath(sys.executable)) == "/usr/bin"
sys.exit(not (said or packaged))
' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" && command -v "$PYTHON"
        return
    fi
    candidates="python3 python3.14 python3.13 python3.12 python3.11 python /usr/bin/python3"
    for wanted in optimised true; do
        for candidate in $candidates; do
            if new_enough "$candidate" && $wanted "$candidate"; then
                command -v "$candidate"
                return 0
            fi
        done
    done
    return 1
}

if [ -x "$venv/bin/python" ] && ! new_enough "$venv/bin/python"; then
    echo "$venv has a Python that is missing or older than 3.11: making it anew" >&2
    rm -rf "$venv"
fi

if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if ! python=$(find_python); then
        found=$(${PYTHON:-python3} --version 2>/dev/null || true)
        echo "tupelo needs Python 3.11 or newer; found: ${found:-none}." >&2
        echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or say where it" >&2
        echo "is: make ${MAKECMDGOALS:-test} PYTHON=/path/to/python3.12" >&2
        exit 1
    fi
    echo "making $venv with $python ($("$python" --version 2>&1))"
    if ! optimised "$python"; then
        echo "  it was built without optimisations: everything takes a sixth longer, or more"
        echo "  (make PYTHON=/path/to/python takes another)"
    fi
    rm -rf "$venv"
    if ! output=$("$python" -m venv "$venv" 2>&1); then
        rm -rf "$venv"
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "$python cannot make a virtual environment:" >&2
        echo "$output" | sed 's/^/    /' >&2
        echo "On Debian and Ubuntu the module comes apart from Python; install it and try again:" >&2
        echo "    apt-get install python3-venv        (or python$version-venv)" >&2
        exit 1
    fi
fi

echo "installing tupelo and its tools into $venv (the first time takes about a minute)"
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --no-warn-script-location --editable '.[dev]'; then
    echo "The installation failed; see above. It needs to reach a Python package index." >&2
    exit 1
fi
touch "$stamp"
