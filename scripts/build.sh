#!/bin/sh
# Configures a build folder where it is new, then builds it: scripts/build.sh DIR [TARGET...]
# The folder's name says the kind: build-asan, build-tsan, build-fuzz; all others are the
# release build: -O2 with debug info and the program's own invariants switched on.
# An instrumented build takes warnings as warnings: sanitizers make the compiler see ghosts,
# and the release build has refused real ones already.
set -eu

[ $# -gt 0 ] || { echo "usage: build.sh DIR [TARGET...]" >&2; exit 2; }
dir=$1
shift

# lines without the types of variables: what a report needs, at half the time to build
instrumented="-Db_lundef=false -Dwerror=false -Ddebug=false -Dc_args=-g1 -Dcpp_args=-g1"

if [ ! -f "$dir/build.ninja" ]; then
    case "$(basename "$dir")" in
    build-asan) set_options="$instrumented -Db_sanitize=address,undefined -Doptimization=1" ;;
    build-tsan) set_options="$instrumented -Db_sanitize=thread -Doptimization=1" ;;
    build-fuzz)
        set_options="$instrumented -Db_sanitize=address,undefined -Dfuzzer=true"
        export CC=clang CXX=clang++
        ;;
    build-planted) set_options="-Dplanted=true" ;; # faults on purpose, for tests alone
    *) set_options= ;;
    esac
    rm -rf "$dir" # what an interrupted configuration left behind can not be built upon
    meson setup $set_options "$dir" >"$dir.setup.log" 2>&1 || {
        cat "$dir.setup.log" >&2
        rm -f "$dir.setup.log"
        exit 1
    }
    mv "$dir.setup.log" "$dir/setup.log"
fi
exec ninja -C "$dir" "$@"
