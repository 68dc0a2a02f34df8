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
    if "$2" 2>message; then exit 1; fi
    grep -q 'layer.tar.gz' message
    ln -s "$LAYERS/plain.tar.gz" layer.tar.gz
    "$2"
    ;;
observe)
    if "$2" 2>/dev/null; then exit 1; fi
    if "$2" "$LAYERS/bad-entry.tar" rootfs 2>message; then exit 1; fi
    grep -q 'entry 1 ".wh." at' message
    "$2" "$LAYERS/plain.tar.gz" rootfs >said
    grep -q 'trusted.secret' said
    grep -q 'sha256:' said
    ;;
esac
test "$(cat rootfs/etc/motd)" = hello
