#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the layers of the C tests in $1, with GNU tar, gzip and zstd.
set -eu
rm -rf "$1"
mkdir -p "$1/tree/etc" "$1/tree/usr/bin" "$1/lower/etc" "$1/lower/gone"
cd "$1"

echo hello >tree/etc/motd
printf '#!/bin/sh\n' >tree/usr/bin/su
chmod 4755 tree/usr/bin/su
ln -s motd tree/etc/link
ln tree/etc/motd tree/etc/same
mkfifo tree/fifo
mknod tree/null c 1 3
setfattr -n user.note -v kept tree/etc/motd
setfattr -n trusted.secret -v dropped tree/etc/motd
touch tree/.wh.gone
head -c 3000000 /dev/urandom >tree/big

pack() { tar --sort=name --xattrs --xattrs-include='*' --numeric-owner --mtime=@1 -cf "$@"; }
pack plain.tar -C tree .
gzip -nk plain.tar
zstd -q plain.tar -o plain.tar.zst
pack small.tar -C tree/etc motd

# A file more in a directory of plain.tar.
mkdir -p upper/etc
echo more >upper/etc/more
pack upper.tar -C upper etc

# An entry that no layer may have, behind a good one.
mkdir bad
echo good >bad/a
echo bad >bad/.wh.
pack bad-entry.tar -C bad a .wh.

# The same, cut in the middle of the big file.
head -c 1000000 plain.tar.gz >truncated.tar.gz
printf 'no archive, no compression: a text that is longer than one block. %600s' '' >text

# Many small entries: something to be in the middle of.
mkdir many
i=0
while [ $i -lt 2000 ]; do echo $i >many/$i; i=$((i + 1)); done
pack many.tar -C many .

for file in plain.tar plain.tar.gz plain.tar.zst small.tar; do
    echo "sha256:$(sha256sum <$file | cut -d' ' -f1)" | tr -d '\n' >$file.sha256
    echo "sha512:$(sha512sum <$file | cut -d' ' -f1)" | tr -d '\n' >$file.sha512
done

# An image of two of them, as a layout and as an archive.
mkdir -p image/blobs/sha256
blob() {
    hex=$(sha256sum <"$1" | cut -d' ' -f1)
    cp "$1" "image/blobs/sha256/$hex"
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s}' "$2" "$hex" "$(stat -c %s "$1")"
}
upper=$(sha256sum <upper.tar | cut -d' ' -f1)
printf '{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["%s","sha256:%s"]}}' \
    "$(cat plain.tar.sha256)" "$upper" >config.json
layers=application/vnd.oci.image.layer.v1.tar
printf '{"schemaVersion":2,"config":%s,"layers":[%s,%s]}' \
    "$(blob config.json application/vnd.oci.image.config.v1+json)" \
    "$(blob plain.tar.gz $layers+gzip)" "$(blob upper.tar $layers)" >manifest.json
printf '{"schemaVersion":2,"manifests":[%s]}' \
    "$(blob manifest.json application/vnd.oci.image.manifest.v1+json)" >image/index.json
echo '{"imageLayoutVersion":"1.0.0"}' >image/oci-layout
tar -cf image.tar -C image .
echo "sha256:$upper" | tr -d '\n' >upper.tar.sha256
