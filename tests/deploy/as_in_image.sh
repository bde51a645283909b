#!/bin/bash
# What a container gives a process, by hand: as_in_image.sh ENVIRONMENT STATE WORDS...
#
# A mount namespace in which everything is read-only but STATE and /tmp; user 10001, no capability, none to be gained.
set -e
environment=$1 state=$2
shift 2
mount -t tmpfs tmpfs /mnt
mkdir /mnt/archipel /mnt/state
mount --bind "$environment" /mnt/archipel
mount --bind "$state" /mnt/state
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -o remount,bind,ro /mnt/archipel
mount -o remount,bind,ro /
cd /mnt/state
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
  env -i PATH=/usr/bin:/bin HOME=/mnt/state ARCHIPEL_HOME=/mnt/state PYTHONDONTWRITEBYTECODE=1 \
  /mnt/archipel/bin/python "$@"
