#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# example.sh NAME PROGRAM: an example does what it is for.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir rootfs
case $1 in
unpack)
    ! "$2" 2>message
    grep -q 'layer.tar.gz' message
    ln -s "$LAYERS/plain.tar.gz" layer.tar.gz
    "$2"
    ;;
observe)
    ! "$2" 2>/dev/null
    ! "$2" "$LAYERS/bad-entry.tar" rootfs 2>message
    grep -q 'entry 1 ".wh." at' message
    "$2" "$LAYERS/plain.tar.gz" rootfs >said
    grep -q 'trusted.secret' said
    grep -q 'sha256:' said
    ;;
esac
test "$(cat rootfs/etc/motd)" = hello
