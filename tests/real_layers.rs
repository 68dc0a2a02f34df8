// SPDX-License-Identifier: Apache-2.0
//! Layers that other tools made, against what those tools make of them.
#![forbid(unsafe_code)]

mod real;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ocilayer::image;
use ocilayer::{Compression, FindingKind, Lowers, Options, ScanReport, SkipReason, Source, scan};
use real::archives::{self, bsd_extracts, bsd_tar, debian, everything, gnu_extracts, gnu_tar};
use real::images;
use real::tools::{command, present, run, shell};
use real::tree::{Difference, Kind, Node, Tree};
use real::unpacked::{Layer, Unpacked, in_a_directory, in_an_overlay, read, scratch};

/// A difference that ought to be there.
struct Explained {
    path: &'static str,
    what: &'static str,
    // Read by people only.
    _because: &'static str,
}

const fn explained(path: &'static str, what: &'static str, because: &'static str) -> Explained {
    Explained { path, what, _because: because }
}

/// `trusted.*` and overlay's own xattrs never come out of an archive.
const NO_XATTRS_OF_THE_KERNEL: &[Explained] = &[
    explained("xattrs/overlay", "xattr user.overlay.made.up", "overlay keeps these for itself"),
    explained(
        "xattrs/trusted",
        "xattr trusted.made.up",
        "an archive must not set what root trusts",
    ),
];

const ITS_ROOT: Explained = explained("", "mtime", "bsdtar leaves the time of the root as it is");

const TEXT_ACL: &str = "bsdtar writes ACLs as text and not as xattrs; no container engine reads it";

const BEFORE_1970: &str = "libarchive writes -2 s and 123456789 ns as -2.123456789, which by POSIX is \
     earlier than -2; it reads its own mistake back";

const BSDTAR_PAX: &[Explained] = &[
    ITS_ROOT,
    explained("acls/file", "mode", TEXT_ACL),
    explained("acls/file", "xattr system.posix_acl_access", TEXT_ACL),
    explained("acls/inherits", "xattr system.posix_acl_default", TEXT_ACL),
    explained("times/1901-12-14 00:00:00.000000001", "mtime", BEFORE_1970),
    explained("times/1969-12-31 23:59:58.123456789", "mtime", BEFORE_1970),
    explained("xattrs/overlay", "xattr user.overlay.made.up", "overlay keeps these for itself"),
    explained(
        "xattrs/trusted",
        "xattr trusted.made.up",
        "an archive must not set what root trusts",
    ),
];

const BSDTAR_GNU: &[Explained] = &[ITS_ROOT];

/// Neither more differences than the explained ones, nor fewer.
#[track_caller]
fn same(what: &str, ours: &Tree, theirs: &Tree, explained: &[Explained]) {
    let differences = ours.differences(theirs);
    let explains = |d: &Difference, e: &Explained| d.path == e.path.as_bytes() && d.what == e.what;
    let unexplained: Vec<String> = differences
        .iter()
        .filter(|d| !explained.iter().any(|e| explains(d, e)))
        .map(Difference::to_string)
        .collect();
    assert!(
        unexplained.is_empty(),
        "{what}, {} differences:\n{}",
        unexplained.len(),
        unexplained[..unexplained.len().min(40)].join("\n")
    );
    for e in explained {
        let there = differences.iter().any(|d| explains(d, e));
        assert!(there, "{what}: {} no longer differs in {}", e.path, e.what);
    }
}

/// The same as `theirs` in both modes, and the same in both modes.
#[track_caller]
fn same_in_both_modes(what: &str, layers: &[Layer], theirs: &Tree, explained: &[Explained]) {
    let (mut directory, mut overlay) = (in_a_directory(layers).tree, in_an_overlay(layers).tree);
    same(&format!("{what}, in a directory"), &directory, theirs, explained);
    same(&format!("{what}, in an overlay"), &overlay, theirs, explained);
    // Where no entry describes the root it stays as each directory was made.
    directory.forget_root();
    overlay.forget_root();
    same(&format!("{what}, in both modes"), &directory, &overlay, &[]);
}

#[test]
fn a_debian_layer_is_what_gnu_tar_extracts() {
    if !present("a_debian_layer_is_what_gnu_tar_extracts", &["tar", "gzip", "zstd", "debootstrap"])
    {
        return;
    }
    let debian = debian();
    let theirs = gnu_extracts(&debian.plain);
    // So that the comparison is of a whole Debian: su is setuid, and debootstrap makes devices.
    assert!(theirs.len() > 5000, "{} names", theirs.len());
    assert_eq!(theirs.get("usr/bin/su").expect("su").mode, 0o4755);
    assert!(matches!(theirs.get("dev/null").expect("null").kind, Kind::Character { .. }));

    for (blob, compression) in [
        (&debian.plain, Compression::None),
        (&debian.gzip, Compression::Gzip),
        (&debian.zstd, Compression::Zstd),
    ] {
        let layers = [Layer::from(blob.clone())];
        for Unpacked { tree, reports } in [in_a_directory(&layers), in_an_overlay(&layers)] {
            same(&format!("{compression:?}"), &tree, &theirs, &[]);
            assert_eq!(reports[0].compression, compression);
            assert!(reports[0].skipped.is_empty(), "{:?}", reports[0].skipped);
        }
    }
}

/// Counts what scan tells of.
fn scanned(blob: &Path) -> ScanReport {
    let bottom = Options::default().lowers(Lowers::Known(Vec::new()));
    scan(Source::path(blob), &bottom, &mut ()).expect("scanned")
}

#[test]
fn scan_finds_in_a_debian_layer_what_unpack_makes_of_it() {
    let name = "scan_finds_in_a_debian_layer_what_unpack_makes_of_it";
    if !present(name, &["tar", "gzip", "zstd", "debootstrap"]) {
        return;
    }
    let debian = debian();
    let Unpacked { tree, reports } = in_a_directory(&[Layer::from(debian.gzip.clone())]);
    let files_with = |bit: u32| {
        let set = |node: &&Node| matches!(node.kind, Kind::File { .. }) && node.mode & bit != 0;
        tree.nodes().filter(set).count() as u64
    };
    for blob in [&debian.plain, &debian.gzip, &debian.zstd] {
        let report = scanned(blob);
        assert!(!report.is_refused() && !report.partial && report.names_kept_until.is_none());
        assert_eq!(report.entries, reports[0].entries);
        assert_eq!(report.diff_id, reports[0].diff_id);
        assert_eq!(report.findings.count(FindingKind::Device), reports[0].entries.devices);
        // Names, not inodes: Debian has no hardlinks among these.
        assert_eq!(report.findings.count(FindingKind::Setuid), files_with(0o4000));
        assert_eq!(report.findings.count(FindingKind::Setgid), files_with(0o2000));
        assert_eq!(report.findings.count(FindingKind::Duplicate), 0);
    }
}

#[test]
fn everything_by_gnu_tar_is_what_it_extracts() {
    let test = "everything_by_gnu_tar_is_what_it_extracts";
    if !present(test, &["tar", "setcap", "setfacl", "setfattr"]) {
        return;
    }
    let (source, archive) = (everything(), scratch());
    for options in [
        &["--format=posix"][..],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
    ] {
        let layer = archive.path().join("layer.tar");
        gnu_tar(source.path(), &layer, options);
        let theirs = gnu_extracts(&layer);
        same_in_both_modes(&options.join(" "), &[layer.into()], &theirs, NO_XATTRS_OF_THE_KERNEL);
    }
}

#[test]
fn everything_in_old_gnu_format_is_what_gnu_tar_extracts() {
    let test = "everything_in_old_gnu_format_is_what_gnu_tar_extracts";
    if !present(test, &["tar", "setcap", "setfacl", "setfattr"]) {
        return;
    }
    let (source, archive) = (everything(), scratch());
    let layer = archive.path().join("layer.tar");
    let mut tar = command("tar");
    // This format has no place for xattrs.
    tar.args(["--format=gnu", "--sparse", "--numeric-owner", "-C"]).arg(source.path());
    run(tar.arg("-cf").arg(&layer).arg("."));
    let theirs = gnu_extracts(&layer);
    same_in_both_modes("--format=gnu", &[layer.into()], &theirs, &[]);
}

#[test]
fn everything_by_bsdtar_is_what_it_extracts() {
    let test = "everything_by_bsdtar_is_what_it_extracts";
    if !present(test, &["bsdtar", "setcap", "setfacl", "setfattr"]) {
        return;
    }
    let (source, archive) = (everything(), scratch());
    for (format, explained) in [("pax", BSDTAR_PAX), ("gnutar", BSDTAR_GNU)] {
        let layer = archive.path().join("layer.tar");
        bsd_tar(source.path(), &layer, &["--format", format]);
        let theirs = bsd_extracts(&layer);
        same_in_both_modes(&format!("bsdtar {format}"), &[layer.into()], &theirs, explained);
    }
}

#[test]
fn holes_of_every_sparse_format_stay_holes() {
    if !present(
        "holes_of_every_sparse_format_stay_holes",
        &["tar", "setcap", "setfacl", "setfattr"],
    ) {
        return;
    }
    let (source, archive) = (everything(), scratch());
    for options in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let layer = archive.path().join("layer.tar");
        let mut tar = command("tar");
        tar.args(options).args(["--sparse", "-C"]).arg(source.path());
        run(tar.arg("-cf").arg(&layer).arg("./sparse"));
        let root = scratch();
        let report = ocilayer::unpack(
            ocilayer::Source::path(&layer),
            root.path(),
            &ocilayer::Options::default(),
        )
        .unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert!(report.bytes.files < 1 << 20, "{options:?}: {:?}", report.bytes);
        for name in ["hole", "start", "end", "pieces"] {
            let path = Path::new("sparse").join(name);
            let (made, given) = (root.path().join(&path), source.path().join(&path));
            let (made, given) = (fs::metadata(made).expect(name), fs::metadata(given).expect(name));
            assert_eq!(made.len(), given.len(), "{options:?} {name}");
            // In units of 512 bytes; the source's are the least there can be.
            assert!(made.blocks() <= given.blocks(), "{options:?} {name}: {}", made.blocks());
        }
    }
}

#[test]
fn what_an_archive_must_not_set_is_reported() {
    if !present(
        "what_an_archive_must_not_set_is_reported",
        &["tar", "setcap", "setfacl", "setfattr"],
    ) {
        return;
    }
    let (source, archive) = (everything(), scratch());
    let layer = archive.path().join("layer.tar");
    gnu_tar(source.path(), &layer, &["--format=posix"]);
    let layers = [Layer::from(layer)];
    for unpacked in [in_a_directory(&layers), in_an_overlay(&layers)] {
        let skipped = &unpacked.reports[0].skipped;
        assert_eq!(skipped.count(SkipReason::TrustedXattr), 1, "{skipped:?}");
        assert_eq!(skipped.count(SkipReason::OverlayXattr), 1, "{skipped:?}");
        assert_eq!(skipped.iter().count(), 2, "{skipped:?}");
    }
}

/// An image of four layers by umoci: real files, deletions, a directory made anew, and an opaque
/// directory. `$1` is the Debian root.
const UMOCI_IMAGE: &str = r#"
    umoci init --layout image
    umoci new --image image:0
    umoci unpack --image image:0 bundle
    mkdir -p bundle/rootfs/usr bundle/rootfs/var/lib
    cp -a "$1/etc" bundle/rootfs/ && cp -a "$1/usr/bin" "$1/usr/sbin" bundle/rootfs/usr/
    cp -a "$1/var/lib/dpkg" bundle/rootfs/var/lib/
    ln bundle/rootfs/usr/bin/env bundle/rootfs/usr/bin/env-too
    mkfifo bundle/rootfs/etc/fifo && mknod bundle/rootfs/etc/null c 1 3
    setfattr -n user.layer -v one bundle/rootfs/etc/passwd
    setcap cap_net_raw=ep bundle/rootfs/usr/bin/tee
    umoci repack --refresh-bundle --image image:1 bundle

    rm -r bundle/rootfs/etc/default bundle/rootfs/usr/sbin bundle/rootfs/etc/passwd
    rm -r bundle/rootfs/etc/apt && mkdir bundle/rootfs/etc/apt && echo new >bundle/rootfs/etc/apt/new
    rm -r bundle/rootfs/etc/skel && echo file >bundle/rootfs/etc/skel
    rm bundle/rootfs/etc/fifo && mkdir bundle/rootfs/etc/fifo
    setfattr -x security.capability bundle/rootfs/usr/bin/tee
    chmod 0700 bundle/rootfs/var/lib/dpkg && touch -d '2001-02-03 04:05:06' bundle/rootfs/usr
    umoci repack --refresh-bundle --image image:2 bundle

    mkdir -p opaque/var/lib/dpkg && echo opaque >opaque/var/lib/dpkg/only
    touch opaque/var/lib/dpkg/.wh..wh..opq
    tar --format=posix --sort=name -C opaque -cf opaque.tar var/lib/dpkg
    umoci raw add-layer --image image:2 --tag 3 opaque.tar

    umoci unpack --image image:3 third
    rm third/rootfs/var/lib/dpkg/only && echo after >third/rootfs/var/lib/dpkg/after
    umoci repack --image image:4 third
    umoci unpack --image image:4 whole
"#;

const UMOCI_TOOLS: &[&str] = &["umoci", "debootstrap", "tar", "gzip", "zstd", "setfattr", "setcap"];

#[test]
fn layers_by_umoci_are_what_it_unpacks() {
    if !present("layers_by_umoci_are_what_it_unpacks", UMOCI_TOOLS) {
        return;
    }
    let work = scratch();
    shell(work.path(), UMOCI_IMAGE, &[&debian().root]);
    let layers = images::oci_layout(&work.path().join("image"), "4");
    assert_eq!(layers.len(), 4);
    let theirs = read(&work.path().join("whole/rootfs"));
    assert!(theirs.get("etc/passwd").is_none() && theirs.get("var/lib/dpkg/status").is_none());
    same_in_both_modes("umoci", &layers, &theirs, &[]);
}

/// umoci 0.4 does not close the archive that `umoci insert` writes: the padding of its last file is
/// missing, too. Behind gzip its end proves it whole.
#[test]
fn an_archive_that_umoci_leaves_unclosed_is_taken_where_gzip_proves_it_whole() {
    let test = "an_archive_that_umoci_leaves_unclosed_is_taken_where_gzip_proves_it_whole";
    if !present(test, &["umoci", "tar", "gzip"]) {
        return;
    }
    let work = scratch();
    let script = "umoci init --layout image && umoci new --image image:0
         mkdir insert && echo content >insert/file
         umoci insert --image image:0 --tag 1 insert /etc";
    shell(work.path(), script, &[]);
    let layers = images::oci_layout(&work.path().join("image"), "1");
    let blob = &layers[0].blob;
    let listed = command("tar").arg("-tzf").arg(blob).output().expect("tar");
    assert!(!listed.status.success(), "this umoci closes its archives; the test can go");

    let unpacked = in_a_directory(&layers);
    assert_eq!(unpacked.reports[0].skipped.count(SkipReason::NoEndMarker), 1);
    assert!(unpacked.tree.get("etc/file").is_some());
    // The plain archive is not told from a download that was cut short.
    let plain = run(command("sh")
        .arg("-c")
        .arg("gzip -dc \"$1\" >plain")
        .arg("sh")
        .arg(blob)
        .current_dir(work.path()));
    assert_eq!(plain, "");
    let source = ocilayer::Source::path(work.path().join("plain"));
    let error = ocilayer::unpack(source, scratch().path(), &Options::default())
        .expect_err("an unclosed archive");
    assert_eq!(error.kind(), ocilayer::ErrorKind::Archive, "{error}");
    assert!(error.report().expect("report").partial);
}

#[test]
fn an_image_reads_the_same_in_every_layout() {
    let test = "an_image_reads_the_same_in_every_layout";
    if !present(test, &[UMOCI_TOOLS, &["skopeo"]].concat()) {
        return;
    }
    let work = scratch();
    shell(work.path(), UMOCI_IMAGE, &[&debian().root]);
    shell(
        work.path(),
        "copy() { skopeo --insecure-policy copy -q oci:image:4 \"$@\"; }
         copy docker-archive:docker.tar:real/layers:4
         mkdir docker && tar -xf docker.tar -C docker
         copy dir:directory
         copy --dest-compress-format zstd --dest-compress dir:zstd
         copy --dest-decompress dir:plain",
        &[],
    );
    let path = |name: &str| work.path().join(name);
    let original = images::oci_layout(&path("image"), "4");
    let expected = in_a_directory(&original).tree;
    for (layout, layers, compression) in [
        ("docker archive", images::docker_archive(&path("docker")), Compression::None),
        ("docker legacy", images::docker_legacy(&path("docker")), Compression::None),
        ("dir", images::directory(&path("directory")), Compression::Gzip),
        ("dir, zstd", images::directory(&path("zstd")), Compression::Zstd),
        ("dir, plain", images::directory(&path("plain")), Compression::None),
    ] {
        assert_eq!(layers.len(), original.len(), "{layout}");
        let unpacked = in_an_overlay(&layers);
        assert!(unpacked.reports.iter().all(|r| r.compression == compression), "{layout}");
        same(layout, &unpacked.tree, &expected, &[]);
    }
    // The same by the library's own reading of images.
    let tar = "tar -C image -cf oci.tar . && gzip -k oci.tar && gzip -k docker.tar";
    shell(work.path(), tar, &[]);
    for name in ["image", "oci.tar", "oci.tar.gz", "docker.tar", "docker.tar.gz"] {
        let store = image::open(&path(name)).expect(name).expect("an image");
        let mut choice = image::Choice::default();
        choice.name = Some("4".into());
        let chosen = image::select(&store, &choice).expect(name);
        assert_eq!(chosen.layers.len(), original.len(), "{name}");
        let root = scratch();
        image::unpack(&store, &chosen, root.path(), &Options::default(), &mut ()).expect(name);
        let mut tree = read(root.path());
        tree.forget_root();
        let mut expected = in_a_directory(&original).tree;
        expected.forget_root();
        same(name, &tree, &expected, &[]);
    }
}

/// An image of two layers by buildah. `$1` is the Debian root; `merged` becomes the tree as
/// buildah's own storage has it.
const BUILDAH_IMAGE: &str = r#"
    b() { buildah --storage-driver vfs --root "$PWD/storage" --runroot "$PWD/run" "$@"; }
    first=$(b from scratch)
    b copy -q "$first" "$1/etc" /etc
    b copy -q "$first" "$1/usr/bin" /usr/bin
    root=$(b mount "$first")
    chmod 4755 "$root/usr/bin/su"
    ln "$root/etc/issue" "$root/etc/issue-too"
    setcap cap_net_raw=ep "$root/usr/bin/tee"
    b umount "$first"
    b commit -q "$first" first

    second=$(b from --pull-never first)
    root=$(b mount "$second")
    rm -r "$root/etc/default" "$root/etc/issue"
    rm -r "$root/etc/apt" && mkdir "$root/etc/apt" && echo new >"$root/etc/apt/new"
    rm -r "$root/etc/skel" && ln -s apt "$root/etc/skel"
    b umount "$second"
    b commit -q "$second" second
    b push -q second oci:image:second
    b push -q second docker-archive:docker.tar:real/layers:second
    mkdir docker && tar -xf docker.tar -C docker

    root=$(b mount "$(b from --pull-never second)")
    tar --xattrs --xattrs-include='*' --numeric-owner --format=posix -C "$root" -cf merged.tar .
"#;

/// In both properties in which a scratch directory is not one of buildah's.
const NO_ROOT: &[Explained] = &[
    explained("", "mode", "buildah's layers have no entry for the root"),
    explained("", "mtime", "buildah's layers have no entry for the root"),
];

#[test]
fn layers_by_buildah_are_what_it_mounts() {
    let test = "layers_by_buildah_are_what_it_mounts";
    if !present(test, &["buildah", "debootstrap", "tar", "gzip", "zstd", "setcap"]) {
        return;
    }
    let work = scratch();
    shell(work.path(), BUILDAH_IMAGE, &[&debian().root]);
    let theirs = archives::gnu_extracts(&work.path().join("merged.tar"));
    let layers = images::oci_layout(&work.path().join("image"), "second");
    assert_eq!(layers.len(), 2);
    same_in_both_modes("buildah, OCI", &layers, &theirs, NO_ROOT);
    let docker = work.path().join("docker");
    same_in_both_modes("buildah, docker", &images::docker_archive(&docker), &theirs, NO_ROOT);
    same_in_both_modes("buildah, legacy", &images::docker_legacy(&docker), &theirs, NO_ROOT);
}
