# Shared set-up of ci/demo, ci/lint and ci/test; sourced, never run.
#
#   fg_setup run          .venv with what fastgate needs, everything compiled
#   fg_setup test         the same, with the extras `test` and `lint`
#   fg_build_tree NAME    a second build in build/NAME (debug, asan)
#
# Each step is skipped when its stamp says that nothing it depends on changed.
# FASTGATE_PYTHON=/path/to/python chooses the interpreter.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
VENV=$ROOT/.venv
PY=$VENV/bin/python
LOG=$ROOT/build/ci.log
SUPPORTED='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
unset PYTHONHOME PYTHONPATH || true

fg_say() { printf 'fastgate: %s\n' "$*" >&2; }

fg_die() {
    local code=$1
    shift
    fg_say "$*"
    exit "$code"
}

# Run a command in silence; on failure show the end of what it printed.
fg_quietly() {
    local what=$1 started=$SECONDS
    shift
    fg_say "$what ..."
    mkdir -p "$(dirname "$LOG")"
    if ! "$@" >"$LOG" 2>&1 </dev/null; then
        tail -n 60 "$LOG" >&2
        fg_die 1 "failed: $what (all of it: $LOG)"
    fi
    fg_say "$what: done in $((SECONDS - started)) s"
}

fg_has_headers() {
    "$1" -c 'import os, sys, sysconfig
include = sysconfig.get_path("include")
sys.exit(not os.path.exists(os.path.join(include, "Python.h")))'
}

# The interpreter to build with: the first supported one that has both venv and
# headers, or else the first supported one, for apt to complete. A name on PATH
# proves nothing (version managers leave shims), so each candidate is run.
fg_find_python() {
    local candidate names first=
    names="python3.11 python3.12 python3.13 python3.14 python3 /usr/bin/python3"
    for candidate in ${FASTGATE_PYTHON:-$names}; do
        "$candidate" -c "$SUPPORTED" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1 &&
            fg_has_headers "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
        [ -n "$first" ] || first=$candidate
    done
    # apt completes Debian's own interpreter only.
    if [ -z "${FASTGATE_PYTHON:-}" ] &&
        /usr/bin/python3 -c "$SUPPORTED" >/dev/null 2>&1; then
        first=/usr/bin/python3
    fi
    printf '%s' "$first"
}

# What the machine must have before pip can work. As root it is installed;
# anybody else is told the exact line, and nothing is half done.
fg_need_machine() {
    local python missing=()
    python=$(fg_find_python)
    if [ -z "$python" ]; then
        if [ -n "${FASTGATE_PYTHON:-}" ]; then
            fg_die 3 "FASTGATE_PYTHON=$FASTGATE_PYTHON is not a Python 3.11 to 3.14"
        fi
        missing+=(python3 python3-venv python3-dev)
    else
        "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
            missing+=(python3-venv)
        fg_has_headers "$python" || missing+=(python3-dev)
    fi
    if ! command -v gcc >/dev/null; then
        missing+=(gcc libc6-dev)
    elif ! gcc -E -x c - <<<'#include <stdio.h>' >/dev/null 2>&1; then
        missing+=(libc6-dev)
    fi
    command -v curl >/dev/null || missing+=(curl)
    [ ${#missing[@]} -gt 0 ] || return 0

    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fg_say "this machine lacks ${missing[*]}; as root run:"
        printf '    apt-get update && apt-get install -y %s\n' "${missing[*]}" >&2
        exit 3
    fi
    export DEBIAN_FRONTEND=noninteractive
    fg_quietly "apt-get update" apt-get update
    fg_quietly "apt-get install ${missing[*]}" \
        apt-get install -y --no-install-recommends "${missing[@]}"
    [ -n "$(fg_find_python)" ] ||
        fg_die 3 "no Python 3.11 to 3.14 found; set FASTGATE_PYTHON=/path/to/python"
}

fg_make_venv() {
    local python wanted
    if [ -x "$PY" ] && "$PY" -c "$SUPPORTED" >/dev/null 2>&1; then
        [ -n "${FASTGATE_PYTHON:-}" ] || return 0
        wanted=$("$FASTGATE_PYTHON" -c 'import sys; print(sys.version)')
        [ "$wanted" != "$("$PY" -c 'import sys; print(sys.version)')" ] || return 0
    fi
    python=$(fg_find_python)
    rm -rf "$VENV"
    fg_quietly ".venv from $("$python" -V)" "$python" -m venv "$VENV"
}

# The requirements of pyproject.toml: those of the build, the program, its extras.
fg_requirements() {
    "$PY" - "$@" <<'PY'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    settings = tomllib.load(file)
wanted = settings["build-system"]["requires"] + settings["project"]["dependencies"]
for extra in sys.argv[1:]:
    wanted += settings["project"]["optional-dependencies"][extra]
print("\n".join(wanted))
PY
}

fg_install_requirements() {
    local extras=() wanted stamp
    [ "$1" != test ] || extras=(test lint)
    stamp=$VENV/.fastgate-requirements
    wanted=$(fg_requirements ${extras[@]+"${extras[@]}"})
    # A set-up with the extras serves one without them.
    if [ -f "$stamp" ] && [ -z "$(
        printf '%s\n' "$wanted" | grep -Fxv -f "$stamp" || true
    )" ]; then
        return 0
    fi
    printf '%s\n' "$wanted" >"$VENV/.fastgate-wanted"
    fg_quietly "requirements from PyPI" \
        "$PY" -m pip install -r "$VENV/.fastgate-wanted"
    mv "$VENV/.fastgate-wanted" "$stamp"
}

# What decides how sources are compiled. Neither Cython nor setuptools notices a
# change of these, so that everything is then compiled anew.
fg_flags_stamp() {
    {
        "$PY" -c 'import Cython, sys; print(sys.version, Cython.__version__)'
        gcc -dumpfullversion
        printf '%s\n' "$PWD" "${FASTGATE_DEBUG:-}" "${FASTGATE_SANITIZE:-}" \
            "${CFLAGS:-}" "${LDFLAGS:-}"
        sha256sum setup.py tests/native/setup.py
    } | sha256sum
}

# What decides the compiled result: the flags, the sources, the settings, and that
# each built module of the FOLDER is still there. Test modules see every .pxd.
fg_build_stamp() {
    {
        fg_flags_stamp
        find fastgate "$1" -name '*.p[xy][xd]' -print0 | sort -z |
            xargs -0r sha256sum
        sha256sum pyproject.toml
        find "$1" -name '*.so' | sort
    } | sha256sum
}

# Keep the performance hints of each translation, for ci/lint: Cython prints
# them only when it translates, and builds are incremental.
fg_keep_hints() {
    local kept=$1 source
    touch "$kept"
    grep -oE 'Cythonizing [^ ]+\.pyx' "$LOG" | sort -u |
        while read -r _ source; do
            sed -i "\\#hint: $source:#d" "$kept"
        done || true
    grep -E 'performance hint: .*will always require the GIL' "$LOG" |
        sort -u >>"$kept" || true
}

# Compile one FOLDER, unless its stamp says that nothing changed:
#   fg_build_folder FOLDER NAME COMMAND...
# NAME names its stamps in build/; COMMAND is given --force when the flags changed.
fg_build_folder() {
    local folder=$1 stamp=build/stamp-$2 flags=build/flags-$2 force=()
    shift 2
    [ "$(cat "$stamp" 2>/dev/null)" != "$(fg_build_stamp "$folder")" ] || return 0
    mkdir -p build
    if [ "$(cat "$flags" 2>/dev/null)" != "$(fg_flags_stamp)" ]; then
        force=(--force)
        export CYTHON_FORCE_REGEN=1
    fi
    "$@" ${force[@]+"${force[@]}"}
    unset CYTHON_FORCE_REGEN
    fg_keep_hints build/hints
    fg_flags_stamp >"$flags"
    fg_build_stamp "$folder" >"$stamp"
}

# A module that has moved leaves its C and its .so behind; a folder may have its name.
fg_sweep() {
    find fastgate \( -name '*.so' -o -name '*.c' \) -print |
        while read -r made; do
            [ -f "${made%%.*}.pyx" ] || rm -f "$made"
        done
}

fg_compile_program() {
    local settings
    fg_sweep
    settings=$(sha256sum pyproject.toml)
    # pip compiles everything each time; it is needed only for what it installs.
    if [ "$PWD" = "$ROOT" ] && { [ ! -x "$VENV/bin/fastgate" ] ||
        [ "$(cat "$VENV/.fastgate-settings" 2>/dev/null)" != "$settings" ]; }; then
        fg_quietly "compiling and installing fastgate" "$PY" -m pip install -v \
            --no-build-isolation --no-deps -e .
        printf '%s\n' "$settings" >"$VENV/.fastgate-settings"
    else
        fg_quietly "compiling fastgate" "$PY" setup.py build_ext --inplace "$@"
    fi
}

fg_compile_tests() {
    fg_quietly "compiling the test modules" \
        "$PY" tests/native/setup.py build_ext "$@"
}

# fg_build run|test: the program; for tests also the modules that only they import.
fg_build() {
    fg_build_folder fastgate program fg_compile_program
    [ "$1" = run ] || fg_build_folder tests/native tests fg_compile_tests
}

fg_setup() {
    fg_need_machine
    fg_make_venv
    fg_install_requirements "$1"
    fg_build "$1"
}

# A second build of the same sources in build/NAME, beside the normal one: the
# tree is copied with its times, so that it too is compiled incrementally.
# Leaves the shell in that tree with PYTHONPATH set to it.
fg_build_tree() {
    local tree=$ROOT/build/$1
    mkdir -p "$tree"
    find . \( -name .git -o -name '.venv*' -o -path ./build -o -name '.*_cache' \
        -o -name __pycache__ -o -name '*.egg-info' -o -name .hypothesis \
        -o -name .benchmarks \) -prune -o \
        -type f ! -name '*.so' ! -path './fastgate/*.c' -print |
        sort >"$tree.files"
    if [ -f "$tree.before" ]; then
        comm -23 "$tree.before" "$tree.files" | (cd "$tree" && xargs -rd '\n' rm -f)
    fi
    tar -c --verbatim-files-from -T "$tree.files" | tar -x -C "$tree"
    mv "$tree.files" "$tree.before"
    cd "$tree"
    export PYTHONPATH=$tree
    fg_build test
}
