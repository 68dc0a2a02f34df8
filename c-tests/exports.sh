#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# exports.sh LIBDIR HEADER LIBS: the installed library exports what the header declares and no more, all
# of it versioned; its names and its pkg-config file are right. LIBS is what scripts/build has noted.
set -eu
libdir=$1 header=$2 libs=$3
so=$(readlink -f "$libdir/libocilayer.so")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

version=$(sed -n 's/^#define OCILAYER_VERSION_STRING "\(.*\)"/\1/p' "$header")
major=${version%%.*}
test "$so" = "$(readlink -f "$libdir")/libocilayer.so.$version"
test "$(readlink "$libdir/libocilayer.so.$major")" = "libocilayer.so.$version"
readelf -d "$so" | grep -q "SONAME.*\[libocilayer.so.$major\]"
readelf -d "$so" | grep -q 'FLAGS.*NOW'
readelf -lW "$so" | grep -q GNU_RELRO
if readelf -d "$so" | grep TEXTREL; then exit 1; fi

# Functions that the header declares at the start of a line, and what they are called.
grep -v '^typedef' "$header" |
    sed -n 's/^[a-z][A-Za-z0-9_ *]*[ *]\([a-z][a-z_]*\)(.*/\1/p' | sort -u >"$work/declared"
test "$(wc -l <"$work/declared")" -gt 50
nm -D --defined-only "$so" | awk -v node="OCILAYER_$major" \
    '$3 != node { sub("@@" node "$", "", $3); print $3 }' | sort -u >"$work/exported"
diff -u "$work/declared" "$work/exported"
for name in unpack_layer check_overlay_opaque_propagation ocilayer_version; do
    grep -qx "$name" "$work/exported"
done

# What the compiler said about the static library when it was built is what pkg-config says, but for
# libgcc_s, which exists only shared.
said=$(sed 's/-lgcc_s *//; s/ *$//' "$libs")
private=$(sed -n 's/^Libs.private: //p' "$libdir/pkgconfig/ocilayer.pc")
test -n "$said" && test "$said" = "$private"
pkg-config --validate "$libdir/pkgconfig/ocilayer.pc"
