#!/bin/sh
# Lays out C and C++ files with clang-format: those changed against the branch `main` (or the
# last commit, on main itself), or --all. With --check it only says which are not laid out.
set -eu
cd "$(dirname "$0")/.."

check= all=
for arg in "$@"; do
    case "$arg" in
    --check) check=1 ;;
    --all) all=1 ;;
    *) echo "usage: format.sh [--check] [--all]" >&2; exit 2 ;;
    esac
done

if ! command -v clang-format >/dev/null 2>&1; then
    echo "clang-format is not installed (make format installs it): layout not looked at" >&2
    exit 0
fi
if [ ! -e .git ]; then
    all=1
fi

if [ -n "$all" ]; then
    files=$(find src tests -name '*.[ch]' -o -name '*.cc' | sort)
else
    base=$(git merge-base HEAD main 2>/dev/null || git rev-parse HEAD)
    [ "$base" != "$(git rev-parse HEAD)" ] || base=$(git rev-parse HEAD~1 2>/dev/null || echo "$base")
    files=$({ git diff --name-only --diff-filter=d "$base"; git ls-files -o --exclude-standard; } |
        grep -E '^(src|tests)/.*\.(c|h|cc)$' | sort -u || true)
fi
[ -n "$files" ] || exit 0

if [ -z "$check" ]; then
    clang-format -i $files
    exit 0
fi
bad=0
for file in $files; do
    if ! clang-format --dry-run -Werror "$file" >/dev/null 2>&1; then
        echo "$file: not laid out as .clang-format says (make format)"
        bad=1
    fi
done
exit $bad
