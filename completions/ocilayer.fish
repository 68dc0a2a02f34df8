# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ocilayer_global_optspecs
    string join \n h/help V/version
end

function __fish_ocilayer_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ocilayer_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ocilayer_using_subcommand
    set -l cmd (__fish_ocilayer_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ocilayer -n "__fish_ocilayer_needs_command" -s h -l help -d 'Print help'
complete -c ocilayer -n "__fish_ocilayer_needs_command" -s V -l version -d 'Print version'
complete -c ocilayer -n "__fish_ocilayer_needs_command" -f -a "unpack" -d 'Applies a layer, or all layers of an image, to a directory'
complete -c ocilayer -n "__fish_ocilayer_needs_command" -f -a "check" -d 'Asks this kernel whether its overlayfs copies the marks of opaque directories upwards'
complete -c ocilayer -n "__fish_ocilayer_needs_command" -f -a "scan" -d 'Tells what is in layers, above all what `unpack` would refuse, without writing anything'
complete -c ocilayer -n "__fish_ocilayer_needs_command" -f -a "audit" -d 'Finds what the overlayfs defect and other accidents did to unpacked layers'
complete -c ocilayer -n "__fish_ocilayer_needs_command" -f -a "verify" -d 'Finds files of unpacked layers that were cut, zeroed or lost'
complete -c ocilayer -n "__fish_ocilayer_needs_command" -f -a "images" -d 'Lists the images that an OCI layout or an archive has'
complete -c ocilayer -n "__fish_ocilayer_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l layers -d 'Unpacks an image for overlayfs: each layer that STORE lacks becomes a directory there, named by its chain ID' -r -F
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l platform -d 'Which of an image\'s platforms: OS/ARCHITECTURE[/VARIANT]; this machine\'s where there are several' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l mode -d 'What whiteouts become' -r -f -a "directory\t'They delete from ROOT: a plain root file system, or a mount of the parents'
overlay\t'Marks for overlayfs, whose upper directory ROOT is: devices 0:0, trusted.overlay.opaque'
overlay-userxattr\t'The same with user.overlay.opaque, for mounts with the option userxattr'"
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l lower -d 'The parent layers\' directories in overlay modes, topmost first' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l upper -d 'The upper directory of the overlay mount that ROOT is, in directory mode' -r -F
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l digest -d 'The digest that the layer\'s bytes must have, compressed or not: sha256:HEX or sha512:HEX' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l diff-id -d 'The digest that the uncompressed archive must have' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l threads -d 'Worker threads, at most 1024; 0 chooses by the number of CPUs' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l exclude -d 'Leaves out what has this name, and all below it; * ? [..] and ** are as in a shell' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l sync -d 'What is on disk at the end' -r -f -a "none\t'What the kernel has written by then'
files\t'All that the layer made, and nothing of others'
filesystem\t'All of ROOT\'s file system, by syncfs'"
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l owners -d 'What becomes of the owners in the layer' -r -f -a "keep\t'They are set'
ignore\t'Everything belongs to whoever runs this'"
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l map-uid -d 'Shifts user ids: COUNT ids from CONTAINER on become those from HOST on' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l map-gid -d 'Shifts group ids' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l map-user -d 'Shifts ids from 0 on to those that /etc/subuid and /etc/subgid lend to USER' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l devices -d 'What becomes of block and character devices' -r -f -a "create\t'Made; in a user namespace, which may not, left out and reported'
skip\t'Left out and reported'"
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l max-entries -d 'Entries in the layer [default: 10000000]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l max-bytes -d 'Uncompressed bytes; K, M, G and T are powers of 1024 [default: 1T]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l max-ratio -d 'Uncompressed bytes per compressed byte, in layers over 1 GiB [default: no limit]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l max-path-bytes -d 'Bytes in a name or a link\'s target [default: 4096]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l max-path-depth -d 'Components in a name [default: 512]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l max-xattr-bytes -d 'Bytes of xattrs in one entry [default: 1M]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l max-memory -d 'Memory for what is remembered of the layer, its directories above all [default: 1G]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l max-zstd-window -d 'Memory that a zstd stream may ask for, as a power of two: 10 to 31 [default: 29]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l no-blob-digest -d 'Does not compute the digest of the compressed bytes, for who has checked it already'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l layer -d 'Takes LAYER for a layer, though it looks like an image'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -l json -d 'Prints the report as one JSON object on standard output, and nothing else there'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -s q -l quiet -d 'Prints neither progress nor a summary'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -s v -l verbose -d 'Prints each thing that is left out, when it is, on standard error'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand unpack" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand check" -l json -d 'Prints the answer as one JSON object'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l mode -d 'The mode of `unpack` to answer for' -r -f -a "directory\t'They delete from ROOT: a plain root file system, or a mount of the parents'
overlay\t'Marks for overlayfs, whose upper directory ROOT is: devices 0:0, trusted.overlay.opaque'
overlay-userxattr\t'The same with user.overlay.opaque, for mounts with the option userxattr'"
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l threads -d 'Worker threads, at most 1024; 0 chooses by the number of CPUs' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l max-entries -d 'Entries in the layer [default: 10000000]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l max-bytes -d 'Uncompressed bytes; K, M, G and T are powers of 1024 [default: 1T]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l max-ratio -d 'Uncompressed bytes per compressed byte, in layers over 1 GiB [default: no limit]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l max-path-bytes -d 'Bytes in a name or a link\'s target [default: 4096]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l max-path-depth -d 'Components in a name [default: 512]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l max-xattr-bytes -d 'Bytes of xattrs in one entry [default: 1M]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l max-memory -d 'Memory for what is remembered of the layer, its directories above all [default: 1G]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l max-zstd-window -d 'Memory that a zstd stream may ask for, as a power of two: 10 to 31 [default: 29]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l bottom -d 'Nothing lies below: a hardlink to what the layer lacks is refused'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l layer -d 'Takes every file for a layer, also one that looks like an image\'s archive'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l json -d 'Prints a line of JSON for each finding, and one with the report of each layer'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -l summary -d 'Prints no single findings but refusals, only what was found of each layer'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand scan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l layer -d 'A layer and the directory that it was unpacked to. Once for each layer, bottom first' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l image -d 'All layers of an image, which --store has: PATH, PATH:NAME or PATH@DIGEST' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l store -d 'The store that `unpack --layers` has filled' -r -F
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l threads -d 'Worker threads, at most 1024; 0 chooses by the number of CPUs' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l owners -d 'What becomes of the owners in the layer' -r -f -a "keep\t'They are set'
ignore\t'Everything belongs to whoever runs this'"
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l map-uid -d 'Shifts user ids: COUNT ids from CONTAINER on become those from HOST on' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l map-gid -d 'Shifts group ids' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l map-user -d 'Shifts ids from 0 on to those that /etc/subuid and /etc/subgid lend to USER' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l devices -d 'What becomes of block and character devices' -r -f -a "create\t'Made; in a user namespace, which may not, left out and reported'
skip\t'Left out and reported'"
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l max-entries -d 'Entries in the layer [default: 10000000]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l max-bytes -d 'Uncompressed bytes; K, M, G and T are powers of 1024 [default: 1T]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l max-ratio -d 'Uncompressed bytes per compressed byte, in layers over 1 GiB [default: no limit]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l max-path-bytes -d 'Bytes in a name or a link\'s target [default: 4096]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l max-path-depth -d 'Components in a name [default: 512]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l max-xattr-bytes -d 'Bytes of xattrs in one entry [default: 1M]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l max-memory -d 'Memory for what is remembered of the layer, its directories above all [default: 1G]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l max-zstd-window -d 'Memory that a zstd stream may ask for, as a power of two: 10 to 31 [default: 29]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l mounts -d 'Every overlay mount of this machine: looks for suspects only'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l repair -d 'Removes the marks that were listed as wrong, or as suspect'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l restore -d 'Writes again, from the layers, what differs and what is missing'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l live -d 'Changes also what a mount is using. The mount shows it when it is made anew'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l userxattr -d 'The marks are user.overlay.*, as for mounts with the option userxattr'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -l json -d 'Prints a line of JSON for each finding, and one with the report'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand audit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l layer -d 'A layer and the directory that it was unpacked to. Once for each layer, bottom first' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l image -d 'All layers of an image, which --store has: PATH, PATH:NAME or PATH@DIGEST. May be repeated' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l store -d 'The store that `unpack --layers` has filled' -r -F
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l threads -d 'Worker threads, at most 1024; 0 chooses by the number of CPUs' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l owners -d 'What becomes of the owners in the layer' -r -f -a "keep\t'They are set'
ignore\t'Everything belongs to whoever runs this'"
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l map-uid -d 'Shifts user ids: COUNT ids from CONTAINER on become those from HOST on' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l map-gid -d 'Shifts group ids' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l map-user -d 'Shifts ids from 0 on to those that /etc/subuid and /etc/subgid lend to USER' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l devices -d 'What becomes of block and character devices' -r -f -a "create\t'Made; in a user namespace, which may not, left out and reported'
skip\t'Left out and reported'"
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l max-entries -d 'Entries in the layer [default: 10000000]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l max-bytes -d 'Uncompressed bytes; K, M, G and T are powers of 1024 [default: 1T]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l max-ratio -d 'Uncompressed bytes per compressed byte, in layers over 1 GiB [default: no limit]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l max-path-bytes -d 'Bytes in a name or a link\'s target [default: 4096]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l max-path-depth -d 'Components in a name [default: 512]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l max-xattr-bytes -d 'Bytes of xattrs in one entry [default: 1M]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l max-memory -d 'Memory for what is remembered of the layer, its directories above all [default: 1G]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l max-zstd-window -d 'Memory that a zstd stream may ask for, as a power of two: 10 to 31 [default: 29]' -r
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l content -d 'Compares the content of every file'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l userxattr -d 'The marks are user.overlay.*, as for mounts with the option userxattr'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -s q -l quiet -d 'Shows no progress'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -l json -d 'Prints a line of JSON for each finding, and one with the report'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand images" -l json -d 'Prints a line of JSON for each image, with its layers'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand images" -s h -l help -d 'Print help'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand help; and not __fish_seen_subcommand_from unpack check scan audit verify images help" -f -a "unpack" -d 'Applies a layer, or all layers of an image, to a directory'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand help; and not __fish_seen_subcommand_from unpack check scan audit verify images help" -f -a "check" -d 'Asks this kernel whether its overlayfs copies the marks of opaque directories upwards'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand help; and not __fish_seen_subcommand_from unpack check scan audit verify images help" -f -a "scan" -d 'Tells what is in layers, above all what `unpack` would refuse, without writing anything'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand help; and not __fish_seen_subcommand_from unpack check scan audit verify images help" -f -a "audit" -d 'Finds what the overlayfs defect and other accidents did to unpacked layers'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand help; and not __fish_seen_subcommand_from unpack check scan audit verify images help" -f -a "verify" -d 'Finds files of unpacked layers that were cut, zeroed or lost'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand help; and not __fish_seen_subcommand_from unpack check scan audit verify images help" -f -a "images" -d 'Lists the images that an OCI layout or an archive has'
complete -c ocilayer -n "__fish_ocilayer_using_subcommand help; and not __fish_seen_subcommand_from unpack check scan audit verify images help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
