#!/bin/sh
# DIR/bin/PROGRAM, a link to this -> PROGRAM of the Debian in DIR/root, which sees /tmp as it is: sockets, images, logs.
# It is exec all along, so that the program has our process id and our sockets; the mount is its own and ends with it.
set -eu
directory=$(dirname "$(dirname "$0")")
exec unshare --mount sh -euc 'root=$1; shift; mount --bind /tmp "$root/tmp"; exec chroot "$root" "$@"' \
  "$0" "$directory/root" "$(basename "$0")" "$@"
