#!/bin/sh
# RELEASE [COMMAND] -> what the README promises, or that command, in a clone in a bare Debian; exit status 0 if it works
#
# In namespaces of its own.  The clone is below /root, as a newcomer's is.  From this machine it has the network, the kernel, and what a proxy needs
# to be trusted; no package, no Python, no service.
set -eu
release=$1
shift
command=${*:-python3 tests/newcomer.py}
here=$(cd "$(dirname "$0")/.." && pwd)
base=$here/.bare/$release
root=$here/.bare/$release.run
rm -rf "$root"
cp -a "$base" "$root"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root/mnt/source"

settings=$(env | sed -n 's/^\(PIP_INDEX_URL\|PIP_CERT\|https\?_proxy\|no_proxy\|HTTPS\?_PROXY\|NO_PROXY\|CI\|MAKE_ARGS\)=.*/\1/p')
set --
for name in $settings; do
  set -- "$@" "$name=$(printenv "$name")"
done

# The mounts and processes end with the namespaces.
exec unshare --mount --pid --fork --kill-child --ipc --uts --propagation=private sh -eu -c '
  root=$1 source=$2 command=$3
  shift 3
  hostname bare
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=0755 tmpfs "$root/run"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  mount --bind -o ro "$source" "$root/mnt/source"
  # Not chroot alone: systemd, which the tests boot in there, would say that it is offline.
  mkdir -p "$root/mnt/old"
  cd "$root"
  pivot_root . mnt/old
  cd /
  umount --lazy /mnt/old
  # The shell stays as the first process, which takes orphans to their end: libvirt waits for those that it has killed.
  env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" \
    sh -eu -c "
      git config --global --add safe.directory /mnt/source/.git
      git config --global --add safe.directory /mnt/source
      git clone --quiet /mnt/source /root/qmp-exporter
      cd /root/qmp-exporter
      exec $command" || exit
' bare "$root" "$here" "$command" "$@"
