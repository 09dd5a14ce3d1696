# Shell functions shared by quickstart, test and the scripts of this repository. Sourced by bash.
# shellcheck shell=bash

export LC_ALL=C
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$repo/build/cache
# Compilations are shared between checkouts: paths below this one do not count.
export CCACHE_BASEDIR=$repo CCACHE_NOHASHDIR=1

# Progress goes to standard error, so that standard output stays free for results.
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

need_root() {
  [ "$(id -u)" -eq 0 ] || die "must run as root: $1"
}

# digest FILE...: one word that changes when a file's name or content does, but not with the folder it lies in.
digest() {
  { printf '%s\n' "${@##*/}" && sha256sum -- "$@" | cut -c1-64; } | sha256sum | cut -c1-16
}

# up_to_date STAMP DIGEST: the output beside STAMP was made from inputs with this digest.
up_to_date() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

# seconds_since START: START was taken from EPOCHREALTIME.
seconds_since() {
  local tenths=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# copy_program ROOT PROGRAM...: programs and the shared libraries they load, at their own paths under
# ROOT, so that they run there as they do here.
copy_program() {
  local root=$1 program path library
  shift
  for program; do
    path=$(command -v "$program") || die "$program is not installed"
    install -D "$(readlink -f "$path")" "$root$path"
    # A static program has no libraries: ldd says so and fails.
    ldd "$path" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
      [ -e "$root$library" ] || install -D "$(readlink -f "$library")" "$root$library"
    done
  done
}

# make_ext4 FOLDER SIZE FILE: an ext4 image without a journal that holds FOLDER, made without a mount.
# Appears whole: whoever still uses an older one keeps it.
make_ext4() {
  local partial
  partial=$(mktemp "$3.XXXXXX")
  truncate -s "$2" "$partial"
  mkfs.ext4 -q -F -O ^has_journal -E root_owner=0:0 -d "$1" "$partial"
  chmod 644 "$partial"
  mv "$partial" "$3"
}
