# SPDX-License-Identifier: Apache-2.0
# Makes in the current directory one of each thing that an archive can hold.
umask 022

mkdir -p modes/sticky owners times links/deep special sparse names xattrs acls/inherits empty
echo plain >modes/plain
for mode in 0000 0400 0644 0755 2755 4755 6711 7777; do
    echo "$mode" >"modes/$mode" && chmod "$mode" "modes/$mode"
done
chmod 1777 modes/sticky
mkdir modes/readonly && echo inside >modes/readonly/inside && chmod 0555 modes/readonly
: >empty/file

# Past 2^21 an id needs base 256 or a PAX record; 4294967294 is the last that exists.
for id in 1000 2097152 4294967294; do
    echo "$id" >"owners/$id" && chown "$id:$id" "owners/$id"
done
echo setuid >owners/setuid && chown 1000:1000 owners/setuid && chmod 6755 owners/setuid
ln -s nowhere owners/symlink && chown -h 1000:2000 owners/symlink

echo first >links/first && ln links/first links/second && ln links/first links/deep/third
ln -s first links/symlink && ln -P links/symlink links/hardlinked-symlink
ln -s /etc/passwd links/absolute && ln -s ../../../../outside links/climbing
ln -s "$(printf 'long/%.0s' {1..60})target" links/long-target

mkfifo special/fifo && ln special/fifo special/hardlinked-fifo
mknod special/null c 1 3 && mknod special/block b 8 1
# The largest that the kernel's 12 and 20 bits hold.
mknod special/largest c 4095 1048575

truncate -s 64M sparse/hole
echo start >sparse/start && truncate -s 8M sparse/start
truncate -s 8M sparse/end && echo end >>sparse/end
# More pieces than the header and one extension block of the old GNU format hold (4 and 21).
for piece in {0..63}; do
    printf 'piece %s' "$piece" | dd of=sparse/pieces bs=64K seek="$((piece * 2))" conv=notrunc status=none
done

component=$(printf 'n%.0s' {1..255})
mkdir -p "names/$component/$component" && echo long >"names/$component/$component/$component"
echo hundred >"names/$(printf 'h%.0s' {1..100})"
echo latin >"names/"$'caf\xe9' && echo bytes >"names/"$'\xff\xfe\x01'
echo newline >"names/"$'a\nb' && echo tab >"names/"$'a\tb' && echo quotes >"names/'\"\\"
echo utf8 >names/größe && ln -s $'\xe9' names/symlink-to-latin

echo value >xattrs/text && setfattr -n user.text -v value xattrs/text
setfattr -n user.empty -v '' xattrs/text
# A newline before what looks like a PAX record, and NUL bytes.
echo bytes >xattrs/bytes
setfattr -n user.bytes -v 0x0a31322073697a653d39390a00ff00 xattrs/bytes
mkdir xattrs/directory && setfattr -n user.directory -v yes xattrs/directory
echo big >xattrs/big && setfattr -n user.big -v "$(printf 'x%.0s' {1..2000})" xattrs/big
cp /bin/true xattrs/capable && chown 1000:1000 xattrs/capable
setcap cap_net_bind_service,cap_net_raw=ep xattrs/capable
echo trusted >xattrs/trusted && setfattr -n trusted.made.up -v yes xattrs/trusted
echo overlay >xattrs/overlay && setfattr -n user.overlay.made.up -v yes xattrs/overlay

echo acl >acls/file && setfacl -m u:1000:rw,g:2000:r,m::rwx acls/file
# Children from before the default ACL: an unpack must not hand it down to them.
echo child >acls/inherits/child && mkdir acls/inherits/directory
setfacl -d -m u:1000:rwx acls/inherits

for time in '1969-12-31 23:59:58.123456789' '1901-12-14 00:00:00.000000001' '1970-01-01 00:00:00' \
    '2001-09-09 01:46:40.999999999' '2400-02-29 12:00:00.5'; do
    echo "$time" >"times/$time" && touch -d "$time UTC" "times/$time"
done
ln -s target times/symlink && touch -h -d '1999-12-31 23:59:59.25 UTC' times/symlink
touch -d '1980-01-01 00:00:00.125 UTC' times
