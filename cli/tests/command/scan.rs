// SPDX-License-Identifier: Apache-2.0
//! `ocilayer scan` as a user runs it.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::common::{Ran, command, gzip, layer, ocilayer, small_layer};

/// A directory with these files.
pub fn place(files: &[(&str, &[u8])]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(place.path().join(name), bytes).unwrap();
    }
    place
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn climbing() -> Vec<u8> {
    layer(&[("ok", b'0', b""), ("a/../../up\x1b[2J", b'0', b""), ("null", b'3', b"")])
}

#[test]
fn a_layer_that_unpack_takes_is_status_0() {
    let place = place(&[("layer.tar", &small_layer())]);
    let ran = ocilayer(place.path(), &["scan", "layer.tar"], b"");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    for expected in [
        "layer.tar\n",
        "  whiteout              entry 3 \".wh.gone\" \"gone\"\n",
        "  aufs metadata         entry 4 \".wh..wh.plnk\"\n",
        "  entries 5: 1 file, 1 directory, 1 symlink\n",
        "  found   whiteout 1, aufs metadata 1\n",
        "  unpack would take it\n",
    ] {
        assert!(ran.stdout.contains(expected), "{expected:?} is not in {}", ran.stdout);
    }
    let ran = ocilayer(place.path(), &["scan", "-"], &small_layer());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_layer_that_unpack_refuses_is_status_1_and_scanned_to_its_end() {
    let place = place(&[("bad.tar", &climbing()), ("good.tar", &small_layer())]);
    let ran = ocilayer(place.path(), &["scan", "bad.tar", "good.tar"], b"");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    for expected in
        ["name leaves the root", "entry 2 \"null\" \"c 1:3\"", "unpack would fail", "good.tar\n"]
    {
        assert!(ran.stdout.contains(expected), "{expected:?} is not in {}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\x1b'), "{ran:?}");
}

#[test]
fn json_has_a_line_for_each_finding_and_one_for_the_layer() {
    let place = place(&[("bad.tar", &climbing())]);
    let ran = ocilayer(place.path(), &["scan", "--json", "bad.tar"], b"");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    let lines = lines(&ran);
    let path = "a/../../up\x1b[2J";
    let leaves = json!({
        "layer": "bad.tar", "file": "bad.tar", "finding": "name_leaves_root", "entry": 1, "offset": 512, "path": path,
    });
    assert_eq!(lines[0], leaves);
    assert_eq!((&lines[1]["finding"], &lines[1]["kind"]), (&json!("refused"), &json!("layer")));
    assert_eq!((&lines[1]["entry"], &lines[1]["path"]), (&json!(1), &json!(path)));
    assert!(lines[1]["errno"].as_i64().unwrap() > 0);
    assert_eq!((&lines[2]["finding"], &lines[2]["detail"]), (&json!("device"), &json!("c 1:3")));
    let report = &lines[3]["report"];
    assert_eq!(lines.len(), 4);
    assert_eq!(report["partial"], false);
    assert_eq!(report["entries"]["total"], 3);
    assert_eq!(report["findings"], json!({ "name_leaves_root": 1, "device": 1, "refused": 1 }));
    assert_eq!(report["blob_digest"], report["diff_id"]);

    // Unpack says the same of the same entry.
    fs::create_dir(place.path().join("root")).unwrap();
    let unpacked = ocilayer(place.path(), &["unpack", "--json", "bad.tar", "root"], b"");
    let answer: Value = serde_json::from_str(&unpacked.stdout).unwrap();
    for field in ["kind", "errno", "message", "entry", "offset", "path"] {
        assert_eq!(answer["error"][field], lines[1][field], "{field}");
    }
}

#[test]
fn what_cannot_be_read_is_status_1_and_the_others_are_scanned() {
    let cut = &small_layer()[..700];
    let place = place(&[("good.tar", &small_layer()), ("cut.tar", cut)]);
    let ran = ocilayer(place.path(), &["scan", "--json", "missing.tar", "good.tar"], b"");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.starts_with("ocilayer: missing.tar: "), "{ran:?}");
    let all = lines(&ran);
    assert!(all[0]["error"]["message"].as_str().unwrap().contains("No such file"), "{ran:?}");
    assert_eq!(all.last().unwrap()["layer"], "good.tar");

    let ran = ocilayer(place.path(), &["scan", "--json", "cut.tar"], b"");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let all = lines(&ran);
    assert_eq!(all[0]["kind"], "archive");
    assert_eq!(all[1]["report"]["partial"], true);

    let ran = ocilayer(place.path(), &["scan", "."], b"");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("no oci-layout"), "{ran:?}");
}

#[test]
fn only_a_bottom_layer_must_have_what_it_links_to() {
    let mut link = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    link.append_link(&mut header, "name", "elsewhere").unwrap();
    let place = place(&[("layer.tar", &link.into_inner().unwrap())]);
    for (options, expected) in [
        (&[][..], 0),
        (&["--bottom"], 1),
        (&["--mode", "overlay"], 1),
        (&["--max-entries", "0"], 1),
    ] {
        let arguments = [&["scan"], options, &["layer.tar"]].concat();
        let ran = ocilayer(place.path(), &arguments, b"");
        assert_eq!(ran.code, Some(expected), "{arguments:?} {ran:?}");
    }
}

#[test]
fn command_lines_without_meaning_are_status_2() {
    for arguments in [
        &["scan"][..],
        &["scan", "--mode", "sideways", "layer.tar"],
        &["scan", "--threads", "1025", "layer.tar"],
        &["scan", "--max-bytes", "lots", "layer.tar"],
        &["scan", "--quiet", "layer.tar"],
        &["scan", "--max-xattr-bytes", "99999999T", "layer.tar"],
    ] {
        let ran = ocilayer(Path::new("/"), arguments, b"");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?} {ran:?}");
    }
}

#[test]
fn findings_that_cannot_be_printed_are_a_failure() {
    let place = place(&[("layer.tar", &small_layer())]);
    for arguments in [&["scan", "layer.tar"][..], &["scan", "--json", "layer.tar"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(place.path(), arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("standard output: "), "{stderr}");
    }
}

/// An image in the making: files by their names in the layout.
#[derive(Default)]
pub struct Image(pub Vec<(String, Vec<u8>)>);

impl Image {
    pub fn blob(&mut self, bytes: &[u8]) -> String {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.push((format!("blobs/sha256/{hex}"), bytes.to_vec()));
        format!("sha256:{hex}")
    }

    /// A manifest of these layers, as a descriptor.
    pub fn manifest(&mut self, layers: &[&[u8]]) -> Value {
        let digests: Vec<String> = layers.iter().map(|layer| self.blob(layer)).collect();
        let config = json!({ "rootfs": { "type": "layers", "diff_ids": digests } });
        let config = self.blob(config.to_string().as_bytes());
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<Value> =
            digests.iter().map(|d| json!({ "mediaType": media_type, "digest": d })).collect();
        let manifest = json!({ "config": { "digest": config }, "layers": layers });
        json!({ "digest": self.blob(manifest.to_string().as_bytes()) })
    }

    pub fn index(&mut self, manifests: &[Value]) {
        let index = json!({ "manifests": manifests });
        self.0.push(("index.json".into(), index.to_string().into()));
        self.0.push(("oci-layout".into(), b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec()));
    }

    pub fn archive(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in &self.0 {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        archive.into_inner().unwrap()
    }

    pub fn directory(&self, at: &Path) {
        for (name, bytes) in &self.0 {
            let path = at.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// Two platforms behind a nested index, with a layer in common; one manifest is not there.
fn image() -> (Image, Vec<Vec<u8>>) {
    let layers = vec![small_layer(), layer(&[("second", b'0', b"2")]), climbing()];
    let mut image = Image::default();
    let first = image.manifest(&[&layers[0], &layers[1]]);
    let second = image.manifest(&[&layers[0], &layers[2]]);
    let nested = json!({ "manifests": [second] });
    let nested = json!({ "digest": image.blob(nested.to_string().as_bytes()) });
    let absent = json!({
        "digest": format!("sha256:{}", "0".repeat(64)),
        "platform": { "os": "plan9", "architecture": "mips" },
    });
    image.index(&[first, nested, absent]);
    (image, layers)
}

#[test]
fn every_layer_of_an_image_is_scanned_once() {
    let (image, layers) = image();
    let place = place(&[("image.oci.tar", &image.archive())]);
    image.directory(&place.path().join("layout"));
    for name in ["image.oci.tar", "layout"] {
        let ran = ocilayer(place.path(), &["scan", "--json", name], b"");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{name}: {ran:?}");
        let lines = lines(&ran);
        let reports: Vec<&Value> =
            lines.iter().map(|line| &line["report"]).filter(|report| report.is_object()).collect();
        assert_eq!(reports.len(), layers.len(), "{name}: {ran:?}");
        let files = lines.iter().filter(|line| line["file"] == *name && line["report"].is_object());
        assert!(files.clone().all(|line| line["digest"].is_string()), "{ran:?}");
        assert_eq!(files.count(), layers.len(), "{ran:?}");
        for (report, layer) in reports.iter().zip(&layers) {
            assert_eq!(report["blob_bytes"], layer.len() as u64, "{name}");
        }
        let note = lines.iter().find_map(|line| line["note"].as_str()).unwrap();
        assert!(note.contains("\"plan9\" \"mips\" is not here"), "{note}");
        let ran = ocilayer(place.path(), &["scan", name], b"");
        assert_eq!(ran.stdout.matches("unpack would").count(), 3, "{ran:?}");
    }
    // The archive as what it is on the outside.
    let ran = ocilayer(place.path(), &["scan", "--layer", "--json", "image.oci.tar"], b"");
    let last = lines(&ran).pop().unwrap();
    assert_eq!(last["report"]["entries"]["total"], image.0.len() as u64, "{ran:?}");
}

#[test]
fn an_archive_that_docker_saved_is_an_image() {
    let layers = [small_layer(), climbing()];
    let digests = layers.iter().map(|layer| Image::default().blob(layer)).collect::<Vec<_>>();
    let config = json!({ "rootfs": { "diff_ids": digests } }).to_string();
    let names = ["a", "b"].map(|letter| letter.repeat(64));
    let manifest = json!([{
        "Config": format!("{}.json", names[0]),
        "Layers": [format!("{}.tar", names[0]), format!("{}/layer.tar", names[1])],
    }]);
    let mut image = Image(vec![
        (format!("{}.tar", names[0]), layers[0].clone()),
        (format!("{}/layer.tar", names[1]), layers[1].clone()),
        (format!("{}.json", names[0]), config.into()),
        ("manifest.json".into(), manifest.to_string().into()),
    ]);
    let place = place(&[("saved.tar", &image.archive())]);
    let ran = ocilayer(place.path(), &["scan", "--json", "saved.tar"], b"");
    let found = lines(&ran);
    let count = |field: &str| found.iter().filter(|line| !line[field].is_null()).count();
    assert_eq!((ran.code, count("report"), count("error")), (Some(1), 2, 0), "{ran:?}");
    assert!(!ran.stdout.contains("\"kind\":\"digest\""), "{ran:?}");

    // A file that is no image's makes it no layer, as another manifest does.
    image.0.push(("etc/passwd".into(), Vec::new()));
    fs::write(place.path().join("saved.tar"), image.archive()).unwrap();
    let ran = ocilayer(place.path(), &["scan", "--json", "saved.tar"], b"");
    let count = |field: &str| lines(&ran).iter().filter(|line| !line[field].is_null()).count();
    assert_eq!((ran.code, count("report"), count("error")), (Some(1), 2, 0), "{ran:?}");
    for manifest in ["{}", "[{}]", "no JSON", "[{\"Layers\": 5}]"] {
        image.0[3].1 = manifest.into();
        fs::write(place.path().join("saved.tar"), image.archive()).unwrap();
        let ran = ocilayer(place.path(), &["scan", "--json", "saved.tar"], b"");
        assert_eq!((ran.code, lines(&ran).len()), (Some(0), 1), "{ran:?}");
        assert_eq!(lines(&ran)[0]["report"]["entries"]["total"], 5, "{ran:?}");
    }
}

/// What crane, jib and kaniko call their files, and how old ones of docker share a layer.
#[test]
fn archives_of_other_programs_are_images_too() {
    let layers = [small_layer(), climbing()];
    let config = |digests: &[String]| json!({ "rootfs": { "diff_ids": digests } }).to_string();
    let digests: Vec<String> = layers.iter().map(|layer| Image::default().blob(layer)).collect();
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    for (config_name, suffix) in
        [(digests[0].clone(), ".tar.gz"), ("config.json".to_owned(), ".tar.gz")]
    {
        let names: Vec<String> = digests.iter().map(|digest| hex(digest) + suffix).collect();
        let manifest = json!([{ "Config": config_name, "RepoTags": null, "Layers": names }]);
        let mut image = Image(vec![(config_name, config(&digests).into())]);
        for (name, layer) in names.iter().zip(&layers) {
            image.0.push((name.clone(), gzip(layer)));
        }
        image.0.push(("manifest.json".into(), manifest.to_string().into()));
        let place = place(&[("image.tar", &image.archive())]);
        let ran = ocilayer(place.path(), &["scan", "--json", "image.tar"], b"");
        let count = |field: &str| lines(&ran).iter().filter(|line| !line[field].is_null()).count();
        assert_eq!((ran.code, count("report"), count("error")), (Some(1), 2, 0), "{ran:?}");
        assert!(!ran.stdout.contains("\"kind\":\"digest\""), "{ran:?}");
    }
}

#[test]
fn layers_that_docker_saved_as_symlinks_are_found() {
    let layer = small_layer();
    let names = ["a", "b"].map(|letter| format!("{}/layer.tar", letter.repeat(64)));
    let manifest = json!([{ "Config": "config.json", "Layers": names }]).to_string();
    let mut archive = tar::Builder::new(Vec::new());
    let mut file = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    file(&names[0], &layer);
    file("manifest.json", manifest.as_bytes());
    for (name, target) in [(&names[1], format!("../{}", names[0])), (&names[1], "../..".into())] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, name, target).unwrap();
    }
    let place = place(&[("saved.tar", &archive.into_inner().unwrap())]);
    let ran = ocilayer(place.path(), &["scan", "--json", "saved.tar"], b"");
    let count = |field: &str| lines(&ran).iter().filter(|line| !line[field].is_null()).count();
    assert_eq!((count("report"), count("error")), (2, 0), "{ran:?}");
}

#[test]
fn image_is_not_taken_for_a_layer() {
    let (image, _) = image();
    let archive = image.archive();
    let files = [("image.tar", &archive), ("image.tar.gz", &gzip(&archive))];
    let place = place(&files.map(|(name, bytes)| (name, &bytes[..])));
    fs::create_dir(place.path().join("root")).unwrap();
    let [plain, compressed] = ["image.tar", "image.tar.gz"]
        .map(|name| ocilayer(place.path(), &["scan", name], b"").stdout.replace(".tar.gz", ".tar"));
    assert_eq!(plain, compressed);
    for name in ["image.tar", "image.tar.gz"] {
        let ran = ocilayer(place.path(), &["scan", "--layer", name], b"");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let owners = ["unpack", "--layer", "--owners", "ignore", name, "root"];
        assert_eq!(ocilayer(place.path(), &owners, b"").code, Some(0));
    }
    assert!(place.path().join("root/blobs").is_dir());
}

#[test]
fn blobs_of_an_image_are_held_against_their_digests() {
    let (mut image, layers) = image();
    let changed = |image: &mut Image, old: &[u8], new: &[u8]| {
        let blob = image.0.iter_mut().filter(|(_, bytes)| bytes == old);
        blob.for_each(|(_, bytes)| *bytes = new.to_vec());
    };
    changed(&mut image, &layers[1], &layers[0]);
    let place = place(&[("image.tar", &image.archive())]);
    let ran = ocilayer(place.path(), &["scan", "--json", "image.tar"], b"");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let refused: Vec<Value> =
        lines(&ran).into_iter().filter(|line| line["kind"] == "digest").collect();
    assert_eq!(refused.len(), 1, "{ran:?}");
    assert!(refused[0].get("entry").is_none());

    let manifest = image.0.iter().find(|(_, bytes)| bytes.starts_with(b"{\"config\"")).unwrap();
    let (old, new) = (manifest.1.clone(), [&manifest.1[..], b" "].concat());
    changed(&mut image, &old, &new);
    fs::write(place.path().join("image.tar"), image.archive()).unwrap();
    let ran = ocilayer(place.path(), &["scan", "image.tar"], b"");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(" has digest sha256:"), "{ran:?}");
}

#[test]
fn images_that_make_no_sense_are_refused() {
    let digest = format!("sha256:{}", "1".repeat(64));
    let table: &[(&str, Value, &str)] = &[
        ("no manifests", json!({}), "no manifests there"),
        ("path for a digest", json!({ "manifests": [{ "digest": "sha256:../../x" }] }), "sha256"),
        ("number", json!({ "manifests": [{ "digest": 5 }] }), "no digest there"),
    ];
    for (what, index, message) in table {
        let place = place(&[("index.json", index.to_string().as_bytes()), ("oci-layout", b"{}")]);
        let ran = ocilayer(place.path(), &["scan", "."], b"");
        assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
        assert!(ran.stderr.contains(message), "{what}: {ran:?}");
    }
    let mut image = Image::default();
    let mut inner = json!({ "digest": digest });
    for _ in 0..20 {
        let index = json!({ "manifests": [inner] });
        inner = json!({ "digest": image.blob(index.to_string().as_bytes()) });
    }
    image.index(&[inner]);
    let place = place(&[("image.tar", &image.archive())]);
    let ran = ocilayer(place.path(), &["scan", "image.tar"], b"");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("indexes inside of indexes"), "{ran:?}");
}

#[test]
fn summary_has_no_findings_but_refusals() {
    let place = place(&[("bad.tar", &climbing()), ("good.tar", &small_layer())]);
    let ran = ocilayer(place.path(), &["scan", "--json", "--summary", "bad.tar", "good.tar"], b"");
    let found: Vec<Value> =
        lines(&ran).into_iter().filter(|line| !line["finding"].is_null()).collect();
    assert!(!found.is_empty() && found.iter().all(|line| line["finding"] == "refused"), "{ran:?}");
    let reports = lines(&ran).iter().filter(|line| !line["report"].is_null()).count();
    assert_eq!(reports, 2, "{ran:?}");
}
