#!/bin/sh
# DIR/bin/PROGRAM, a link to this -> PROGRAM of the Debian in DIR/root, which sees /tmp, /run and the current directory as
# they are: sockets, images, logs, rules. It is exec all along, so that the program has our process id and our sockets;
# the mounts are its own and end with it.
set -eu
directory=$(dirname "$(dirname "$0")")
exec unshare --mount sh -euc '
  root=$1; shift
  mkdir -p "$root$PWD"
  for d in /tmp /run "$PWD"; do mount --bind "$d" "$root$d"; done
  exec chroot "$root" env --chdir="$PWD" "$@"' \
  "$0" "$directory/root" "/usr/bin/$(basename "$0")" "$@"  # by its path: a clone below /tmp is on PATH in there, too
