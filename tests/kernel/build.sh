#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds a User Mode Linux kernel with and without the overlayfs bug, as a choice on its command
# line, from the newest linux-source package, and prints where it is. Done once for each version of
# source and of these files; all of it stays below target/.
set -eu
cd "$(dirname "$0")"
here=$PWD work=$(realpath -m "${CARGO_TARGET_DIR:-../../target}/kernel")
source=$(find /usr/src -name 'linux-source-*.tar.xz' | sort -V | tail -n 1)
package=$(basename "$source" .tar.xz)
version=$(dpkg-query --show "$package")
mkdir -p "$work"
exec 9>"$work/lock"
flock 9

linux=$work/linux-$({ echo "$version"; cat "$here/linux.config" "$here/bug_opaque.sed" "$here/build.sh"; } | sha256sum | cut -c 1-16)
if [ -x "$linux" ]; then
    echo "$linux"
    exit
fi

build() {
    rm -rf "$work/tree" && mkdir "$work/tree" && cd "$work/tree"
    tar -xJf "$source" --strip-components=1 -X "$here/not-needed"
    sed -i -f "$here/bug_opaque.sed" fs/overlayfs/copy_up.c
    test "$(grep -c 'bug_carries(' fs/overlayfs/copy_up.c)" = 2
    # The host's registers of one process: with AMX they are 11,008 bytes, and the host takes all of
    # them or none, so that the guest's init would die at once. (A larger kernel stack holds them.)
    sed -i 's/HOST_FP_SIZE, 2696/HOST_FP_SIZE, 16384/' arch/x86/um/user-offsets.c
    grep -q 'HOST_FP_SIZE, 16384' arch/x86/um/user-offsets.c
    make ARCH=um tinyconfig
    cat "$here/linux.config" >>.config
    make ARCH=um olddefconfig
    # What this version of the kernel dropped, or wants something else for.
    if grep -vxFf .config "$here/linux.config"; then
        return 1
    fi
    make ARCH=um -j "$(nproc)" linux
    cp linux "$work/linux.part"
}
echo "building a kernel from $version: some five minutes on two cores" >&2
# In a process of its own: inside of an `if`, a shell ignores its own -e.
set +e
(set -e; build >"$work/log" 2>&1)
failed=$?
set -e
if [ "$failed" != 0 ]; then
    tail -n 30 "$work/log" >&2
    exit 1
fi
mv "$work/linux.part" "$linux"
rm -rf "$work/tree"
echo "$linux"
