#!/bin/sh
# Makes the virtual environment and installs the project, its extras and its tools into it.
#   sh scripts/venv.sh VENV STAMP
# PYTHON chooses the interpreter; without it the first of the usual names that is new enough is taken.
set -eu

venv=$1
stamp=$2

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if new_enough "$candidate"; then
            command -v "$candidate"
            return 0
        fi
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
