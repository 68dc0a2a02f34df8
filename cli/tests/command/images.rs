// SPDX-License-Identifier: Apache-2.0
//! `ocilayer unpack` of images, and `ocilayer images`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Ran, command, gzip, is_root, layer, ocilayer};
use crate::scan::{Image, place};

/// Two images with names, of one layer in common.
fn two() -> Image {
    let base = layer(&[("etc/motd", b'0', b"1"), ("gone", b'0', b"")]);
    let mut image = Image::default();
    let mut manifests = Vec::new();
    for (name, architecture) in [("one", "amd64"), ("two", "arm64")] {
        let own = layer(&[(".wh.gone", b'0', b""), (name, b'0', b"x")]);
        let mut descriptor = image.manifest(&[&base, &own]);
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifests.push(descriptor);
    }
    image.index(&manifests);
    image
}

/// The same choice as of unpack: the layers of one image, and not of all.
#[test]
fn scan_takes_the_image_that_is_named() {
    let place = place(&[("image.tar", &two().archive())]);
    let layers = |argument: &str, code: i32| -> Vec<Value> {
        let ran = ocilayer(place.path(), &["scan", "--json", argument], b"");
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let object = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let mut layers: Vec<Value> =
            ran.stdout.lines().map(|line| object(line)["digest"].clone()).collect();
        layers.dedup();
        layers
    };
    let (all, two) = (layers("image.tar", 0), layers("image.tar:two", 0));
    assert_eq!((all.len(), two.len()), (3, 2));
    assert_eq!([&all[0], &all[2]], [&two[0], &two[1]]);
    layers("image.tar:three", 1);
}

#[test]
fn audit_finds_what_was_done_to_the_layers_of_a_store() {
    if !is_root("the audit of an image") {
        return;
    }
    let place = place(&[("image.tar", &two().archive())]);
    let run = |arguments: &[&str]| ocilayer(place.path(), arguments, b"");
    let audit = ["audit", "--json", "--image", "image.tar:two", "--store", "store"];
    // Nothing is there yet, and none is made.
    assert_eq!(run(&audit).code, Some(1));
    assert!(!place.path().join("store").exists());
    assert_eq!(run(&["unpack", "-q", "--layers", "store", "image.tar:two"]).code, Some(0));
    let clean = run(&audit);
    assert_eq!(clean.code, Some(0), "{clean:?}");
    let lowerdir = object(&run(&["unpack", "--json", "--layers", "store", "image.tar:two"]));
    let path = lowerdir["layers"][1]["path"].as_str().unwrap().to_owned();
    fs::remove_file(Path::new(&path).join("two")).unwrap();
    let found = run(&audit);
    assert_eq!(found.code, Some(1), "{found:?}");
    let layer = Path::new(&path).file_name().unwrap().to_str().unwrap();
    assert!(found.stdout.contains("\"two\"") && found.stdout.contains(layer), "{found:?}");
    // One goes with the other.
    assert_eq!(run(&["audit", "--image", "image.tar"]).code, Some(2));
    assert_eq!(run(&["audit", "--store", "store"]).code, Some(2));
    assert_eq!(run(&["audit", "--image", "image.tar:three", "--store", "store"]).code, Some(1));
}

fn names(at: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(at)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn object(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

#[test]
fn image_is_chosen_behind_its_path_or_by_platform() {
    let place = place(&[("image.tar", &two().archive())]);
    two().directory(&place.path().join("lay:out"));
    let digest = object(&ocilayer(place.path(), &["images", "--json", "image.tar"], b"").line(0));
    let at = format!("image.tar@{}", digest["image"]["digest"].as_str().unwrap());
    for (number, (arguments, expected)) in [
        (&["image.tar:two"][..], Some("two")),
        (&["lay:out:one"], Some("one")),
        (&["--platform", "linux/arm64", "lay:out"], Some("two")),
        (&["--platform", "amd64", "image.tar"], Some("one")),
        (&[&at], Some("one")),
        (&["image.tar:three"], None),
        (&["--platform", "s390x", "image.tar"], None),
        (&["--platform", "amd64", "image.tar:two"], None),
    ]
    .into_iter()
    .enumerate()
    {
        let root = format!("root{number}");
        fs::create_dir(place.path().join(&root)).unwrap();
        let words = [&["unpack", "--json"], arguments, &[&root]].concat();
        let ran = ocilayer(place.path(), &words, b"");
        let there = names(&place.path().join(&root));
        match expected {
            Some(name) => {
                assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
                assert_eq!(there, ["etc", name], "{arguments:?}");
                assert_eq!(object(&ran)["layers"].as_array().unwrap().len(), 2);
            }
            None => {
                assert_eq!((ran.code, there.len()), (Some(1), 0), "{arguments:?}: {ran:?}");
                let message = object(&ran)["error"]["message"].as_str().unwrap().to_owned();
                assert!(message.contains("no image") && message.contains("one"), "{message}");
            }
        }
    }
}

#[test]
fn layers_go_to_a_store_once() {
    if !is_root("layers_go_to_a_store_once") {
        return;
    }
    let place = place(&[("image.tar", &two().archive())]);
    let unpack = |image: &str| {
        let ran = ocilayer(place.path(), &["unpack", "--json", "--layers", "store", image], b"");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        object(&ran)
    };
    let (one, two) = (unpack("image.tar:one"), unpack("image.tar:two"));
    let reused = |report: &Value| -> Vec<bool> {
        let layers = report["layers"].as_array().unwrap();
        layers.iter().map(|layer| layer["reused"].as_bool().unwrap()).collect()
    };
    assert_eq!((reused(&one), reused(&two)), (vec![false, false], vec![true, false]));
    let lowerdir = one["lowerdir"].as_str().unwrap();
    let top = Path::new(lowerdir.split(':').next().unwrap());
    assert!(top.is_absolute());
    assert_eq!(names(top), ["gone", "one"]);
    let ran = ocilayer(place.path(), &["unpack", "--layers", "store", "image.tar:one"], b"");
    assert!(ran.stdout.contains("there already"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("lowerdir   {lowerdir}")), "{ran:?}");
    let other = ["unpack", "--layers", "store", "--mode", "overlay-userxattr", "image.tar:one"];
    let ran = ocilayer(place.path(), &other, b"");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("its layers were unpacked with"), "{ran:?}");
}

/// Each layer of a store, by its name there, with all that is in it.
fn store(at: &Path) -> Vec<(String, Vec<String>)> {
    let layers = at.join("sha256");
    let names = if layers.is_dir() { names(&layers) } else { Vec::new() };
    names.into_iter().map(|name| (name.clone(), self::names(&layers.join(name)))).collect()
}

/// Killed at any moment it leaves whole layers and nothing that is taken for one, and the next goes on.
#[test]
fn killed_unpack_leaves_whole_layers_only() {
    if !is_root("killed_unpack_leaves_whole_layers_only") {
        return;
    }
    let names: Vec<String> = (0..200).map(|number| format!("f{number:03}")).collect();
    let archives: Vec<Vec<u8>> = (0..12)
        .map(|number| {
            let own = format!("own{number}");
            let mut entries: Vec<_> = names.iter().map(|name| (&**name, b'0', &b"1"[..])).collect();
            entries.push((&own, b'0', b""));
            layer(&entries)
        })
        .collect();
    let mut image = Image::default();
    let layers: Vec<&[u8]> = archives.iter().map(Vec::as_slice).collect();
    let manifest = image.manifest(&layers);
    image.index(&[manifest]);
    let place = place(&[("image.tar", &image.archive())]);
    let unpack = |to: &str| command(place.path(), &["unpack", "-q", "--layers", to, "image.tar"]);
    assert!(unpack("whole").status().unwrap().success());
    let whole = store(&place.path().join("whole"));
    assert_eq!(whole.len(), archives.len());
    let mut cut = 0;
    for delay in 0..40 {
        let mut child = unpack("killed").spawn().unwrap();
        std::thread::sleep(Duration::from_micros(500 * delay));
        child.kill().unwrap();
        cut += u32::from(!child.wait().unwrap().success());
        for layer in store(&place.path().join("killed")) {
            assert!(whole.contains(&layer), "{}: {} names", layer.0, layer.1.len());
        }
        if delay % 8 == 7 {
            assert!(unpack("killed").status().unwrap().success());
            assert_eq!(store(&place.path().join("killed")), whole);
            assert_eq!(self::names(&place.path().join("killed/partial")).len(), 0);
            fs::remove_dir_all(place.path().join("killed")).unwrap();
        }
    }
    assert!(cut > 5, "{cut} of 40 were killed before they were done");
}

#[test]
fn options_of_one_layer_are_refused() {
    let place =
        place(&[("image.tar", &two().archive()), ("layer.tar", &layer(&[("a", b'0', b"")]))]);
    fs::create_dir(place.path().join("root")).unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    for arguments in [
        &["--digest", &digest, "image.tar:one", "root"][..],
        &["--diff-id", &digest, "image.tar:one", "root"],
        &["--exclude", "x", "--layers", "store", "image.tar:one"],
        &["--layers", "store", "layer.tar"],
        &["--layers", "store", "image.tar:one", "root"],
        &["image.tar:one"],
        &["--platform", "a/b/c/d", "image.tar", "root"],
    ] {
        let ran = ocilayer(place.path(), &[&["unpack"], arguments].concat(), b"");
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
    }
    assert_eq!(names(&place.path().join("root")).len(), 0);
}

#[test]
fn images_are_listed() {
    let place =
        place(&[("image.tar", &two().archive()), ("image.tar.gz", &gzip(&two().archive()))]);
    let ran = ocilayer(place.path(), &["images", "image.tar"], b"");
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 2), "{ran:?}");
    assert!(ran.stdout.contains("linux/arm64  2 layers"), "{ran:?}");
    assert!(ran.stdout.lines().next().unwrap().ends_with("  one"), "{ran:?}");
    let ran = ocilayer(place.path(), &["images", "--json", "none", "image.tar"], b"");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{ran:?}");
    assert!(lines[0]["error"]["message"].is_string());
    assert_eq!(lines[1]["image"]["names"], json!(["one"]));
}
