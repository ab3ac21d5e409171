# Shared by the scripts of this folder; sourced, never run.
# shellcheck shell=bash

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/sealwright
# shellcheck disable=SC2034  # these are used by the scripts that source this
TOOLS_ROOT=$CACHE/tools-root
# shellcheck disable=SC2034
BOOTSTRAP=$CACHE/bootstrap
# Arguments for unshare that give the right to mount: none for root, a full user namespace for anybody else.
NAMESPACES=()
if ((EUID != 0)); then
    # shellcheck disable=SC2034
    NAMESPACES=(--user --map-root-user --map-auto)
fi

started=$SECONDS

# One line of progress on stderr, with the seconds since the script began.
say() {
    printf '%4ds %s\n' $((SECONDS - started)) "$*" >&2
}

# fail PROBLEM CURE: both are shown, then exit 1.
fail() {
    printf 'sealwright: %s\n  cure: %s\n' "$1" "$2" >&2
    exit 1
}

# need_space DIRECTORY MEBIBYTES WHAT
need_space() {
    local free
    mkdir -p "$1"
    free=$(df --output=avail --block-size=1M "$1" | tail -1)
    if ((free < $2)); then
        fail "$3 needs $2 MiB in $1, and $((free)) MiB are free" \
            "free some space there, or set XDG_CACHE_HOME to a folder on a larger disk"
    fi
}
