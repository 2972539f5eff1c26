#!/bin/sh
# Installs what this project needs and this machine lacks: scripts/setup.sh SECTION...
# The sections are those of scripts/packages.txt. Costs one dpkg-query where nothing is missing.
# Where there is no apt it prints the list and fails. PENSTOCK_SETUP=no skips it: for systems
# that have the same libraries under other names.
set -eu

here=$(dirname "$0")
[ "${PENSTOCK_SETUP:-yes}" != no ] || exit 0
[ $# -gt 0 ] || { echo "usage: setup.sh SECTION..." >&2; exit 2; }

wanted=
for section in "$@"; do
    found=$(awk -v want="[$section]" '
        /^[ \t]*(#|$)/ { next }
        /^\[/          { inside = ($1 == want); seen = seen || inside; next }
        inside         { print $1 }
        END            { if (!seen) exit 1 }' "$here/packages.txt") || {
        echo "setup.sh: packages.txt has no section $section" >&2
        exit 2
    }
    wanted="$wanted $found"
done

if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
    echo "This machine has no apt. Install the equivalents of these Debian packages," >&2
    echo "then run again with PENSTOCK_SETUP=no:" >&2
    printf '  %s\n' $wanted >&2
    exit 1
fi

# dpkg-query fails for names it does not know; those are missing like the others.
have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null || true)
missing=
for package in $wanted; do
    case "
$have
" in
    *"
installed $package
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "Missing packages, and neither root nor sudo to install them:" >&2
        printf '  %s\n' $missing >&2
        exit 1
    }
    as_root=sudo
fi

install_missing() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 -qq $missing
}

# Some packages bring a service (nginx); what is installed here must not start one.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ] && $as_root sh -c "printf '#!/bin/sh\\nexit 101\\n' >$policy && chmod +x $policy"; then
    trap '$as_root rm -f '$policy EXIT
    trap 'exit 1' HUP INT PIPE TERM
fi

# The package lists of a fresh machine may be absent or old: fetch them only where the list
# can not name a package, or the download of one has failed.
echo "Installing:$missing" >&2
if ! apt-cache show --no-all-versions $missing >/dev/null 2>&1 || ! install_missing; then
    $as_root apt-get update -qq
    install_missing
fi
