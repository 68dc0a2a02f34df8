// SPDX-License-Identifier: Apache-2.0
//! Whether the command takes an archive for an image or for a layer: what is in it decides.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::common::{Ran, command, gzip, layer, ocilayer, small_layer};
use crate::scan::{Image, place};

/// Names with contents.
type Files = Vec<(String, Vec<u8>)>;

const AS_IMAGE: &str = "an image and not a layer";

/// An OCI image of one layer whose blobs are larger than what is looked at of a layer.
fn oci() -> Image {
    let big: Vec<u8> = (0..3u32 << 20).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let mut image = Image::default();
    let manifest = image.manifest(&[&layer(&[("big", b'0', &big)])]);
    image.index(&[manifest]);
    image
}

fn dockers() -> Image {
    let sha256 = |bytes: &[u8]| Image::default().blob(bytes);
    let manifest = json!([{ "Config": "config.json", "Layers": ["layer1.tar", "layer2.tar"] }]);
    let big = layer(&[("big", b'0', &vec![7; 3 << 20])]);
    let diff_ids = [sha256(&big), sha256(&small_layer())];
    let config = json!({ "rootfs": { "diff_ids": diff_ids } });
    Image(vec![
        ("layer1.tar".into(), big),
        ("layer2.tar".into(), small_layer()),
        ("config.json".into(), config.to_string().into()),
        ("manifest.json".into(), manifest.to_string().into()),
    ])
}

fn with(mut image: Image, name: &str, at: usize) -> Image {
    image.0.insert(at, (name.into(), b"not the image's".to_vec()));
    image
}

/// Runs it with a file as its standard input.
fn from_file(directory: &Path, arguments: &[&str], file: &str) -> Ran {
    let mut command = command(directory, arguments);
    let file = File::open(directory.join(file)).unwrap();
    let output =
        command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn images_are_known_by_what_they_have() {
    let mut many = oci();
    (0..60).for_each(|n| many.0.insert(0, (format!("docs/{n}"), Vec::new())));
    let table = [
        ("OCI", oci()),
        ("docker's", dockers()),
        ("a file deep below", with(oci(), "docs/a/b/c/d/README", 0)),
        ("one beside", with(oci(), "README", 0)),
        ("one at the end", with(dockers(), "etc/passwd", 4)),
        ("a note among docker's", with(dockers(), "notes/what/this/was/for", 0)),
        ("some more", many),
    ];
    for (case, image) in table {
        let archive = image.archive();
        let files = [("image.tar", &archive), ("image.tar.gz", &gzip(&archive))];
        let place = place(&files.map(|(name, bytes)| (name, &bytes[..])));
        let root = place.path().join("root");
        fs::create_dir(&root).unwrap();
        let names = ["image.tar", "image.tar.gz"];
        for (number, name) in names.into_iter().chain(names).enumerate() {
            let whole = format!("whole{number}");
            fs::create_dir(place.path().join(&whole)).unwrap();
            let ran = match number < 2 {
                true => ocilayer(place.path(), &["unpack", name, &whole], b""),
                false => from_file(place.path(), &["unpack", "-", &whole], name),
            };
            assert_eq!(ran.code, Some(0), "{case}: {ran:?}");
            let big = fs::metadata(place.path().join(&whole).join("big")).unwrap();
            assert_eq!(big.len(), 3 << 20, "{case}");
        }
        // A pipe cannot be looked at before.
        let ran = ocilayer(place.path(), &["unpack", "--owners", "ignore", "-", "root"], &archive);
        assert_eq!(ran.code, Some(1), "{case}: {ran:?}");
        assert!(ran.stderr.contains(AS_IMAGE), "{case}: {ran:?}");
        assert!(ran.stderr.contains("root has its files now"), "{case}: {ran:?}");
        let ran = ocilayer(place.path(), &["scan", "-"], &archive);
        assert_eq!(ran.code, Some(1), "{case}: {ran:?}");
        assert!(ran.stderr.contains(AS_IMAGE), "{case}: {ran:?}");
        let ran = from_file(place.path(), &["scan", "--json", "-"], "image.tar");
        assert!(!ran.stderr.contains(AS_IMAGE), "{case}: {ran:?}");
        for way in [
            &["unpack", "--layer", "--owners", "ignore", "-", "root"][..],
            &["scan", "--layer", "-"],
        ] {
            let ran = ocilayer(place.path(), way, &archive);
            assert_eq!(ran.code, Some(0), "{case} {way:?}: {ran:?}");
        }
    }
}

#[test]
fn a_short_compressed_image_is_known_in_a_pipe() {
    let mut image = Image::default();
    let manifest = image.manifest(&[&small_layer()]);
    image.index(&[manifest]);
    let place = place(&[]);
    fs::create_dir(place.path().join("root")).unwrap();
    let archive = gzip(&image.archive());
    let ran = ocilayer(place.path(), &["unpack", "--owners", "ignore", "-", "root"], &archive);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(AS_IMAGE), "{ran:?}");
}

#[test]
fn layers_are_no_images_whatever_their_files_are_called() {
    let hex = "0123456789abcdef".repeat(4);
    let blob = format!("blobs/sha256/{hex}");
    let inside = format!("{hex}/data");
    // With an image in a directory of it, as a registry's or a build's has.
    let image: Files =
        oci().0.into_iter().map(|(name, bytes)| (format!("srv/{name}"), bytes)).collect();
    let mut large: Files = oci().0;
    large.extend((0..100).map(|n| (format!("usr/{n}"), Vec::new())));
    let files =
        |names: &[&str]| names.iter().map(|name| (name.to_string(), b"1".to_vec())).collect();
    let table: Vec<(&str, Files)> = vec![
        ("blobs alone", files(&[&blob])),
        ("a directory with a digest's name", files(&[&inside, &hex])),
        ("index.json alone", files(&["index.json", &blob])),
        ("oci-layout alone", files(&["oci-layout", &blob])),
        ("archives", files(&["layer.tar", "config.json"])),
        ("an image further down", image),
        ("an image's files among those of a system", large),
    ];
    for (case, entries) in table {
        let archive = Image(entries).archive();
        for bytes in [archive.clone(), gzip(&archive)] {
            let place = place(&[("layer", &bytes)]);
            let root = place.path().join("root");
            fs::create_dir(&root).unwrap();
            let ways = [
                ocilayer(place.path(), &["unpack", "--owners", "ignore", "layer", "root"], b""),
                ocilayer(place.path(), &["unpack", "--owners", "ignore", "-", "root"], &bytes),
                ocilayer(place.path(), &["scan", "layer"], b""),
                ocilayer(place.path(), &["scan", "-"], &bytes),
            ];
            for ran in ways {
                assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{case}: {ran:?}");
            }
        }
    }
}
