#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# linking.sh STAGE LIBDIR: a program by pkg-config without any shared library, and two by find_package;
# each runs. `make uninstall` then leaves nothing.
set -eu
stage=$1 libdir=$2 top=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir rootfs

# shellcheck disable=SC2046
gcc -static -o "$work/static" "$top/examples/unpack.c" $(pkg-config --static --cflags --libs ocilayer)
if ldd "$work/static" 2>/dev/null | grep '=>'; then exit 1; fi
if "$work/static" 2>"$work/message"; then exit 1; fi
grep -q 'layer.tar.gz' "$work/message"

mkdir "$work/cmake"
cat >"$work/cmake/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.18)
project(outside C)
find_package(ocilayer 0.1 REQUIRED)
add_executable(shared $top/examples/unpack.c)
target_link_libraries(shared PRIVATE ocilayer::ocilayer)
add_executable(static $top/examples/unpack.c)
target_link_libraries(static PRIVATE ocilayer::static)
CMAKE
cmake -S "$work/cmake" -B "$work/build" -Docilayer_DIR="$stage$libdir/cmake/ocilayer" >/dev/null
cmake --build "$work/build" >/dev/null
for linked in shared static; do
    if "$work/build/$linked" 2>"$work/message"; then exit 1; fi
    grep -q 'layer.tar.gz' "$work/message"
done
ldd "$work/build/shared" | grep -q "libocilayer.so.*=> $stage$libdir"
if ldd "$work/build/static" | grep libocilayer; then exit 1; fi
if cmake -S "$work/cmake" -B "$work/other" -DCMAKE_DISABLE_FIND_PACKAGE_ocilayer=ON >/dev/null 2>&1; then exit 1; fi

cp -a "$stage" "$work/stage"
DESTDIR=$work/stage "$top/scripts/install" uninstall
left=$(find "$work/stage" ! -type d)
test -z "$left" || { echo "uninstall leaves $left"; exit 1; }
