// SPDX-License-Identifier: Apache-2.0
//! Directory mode on an overlay mount whose upper directory is named. This kernel is taken to be a
//! sound one, so a mark that should not be there is put there by hand; what a kernel with the bug
//! does, and what becomes of it, `make test-kernel` shows.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::archive::{archive, layer};
use common::needs;
use common::overlay::Overlay;
use ocilayer::{Entry, unpack_with};
use ocilayer::{
    Errno, Error, ErrorKind, Mode, Observer, Options, Report, SkipReason, Source, Warning,
};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use tempfile::TempDir;

const TRUSTED: &str = "trusted.overlay.opaque";
const USER: &str = "user.overlay.opaque";

/// `lower`, `upper` and `work`, with directories `d` and `d/e` in the lower one.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("tempdir"));
        for name in ["lower/d/e", "upper", "work"] {
            fs::create_dir_all(place.at(name)).expect("mkdir");
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn mount(&self, options: &str) -> Overlay {
        Overlay::for_writing(self.0.path(), options).expect("mount")
    }

    fn marks(&self) -> Vec<String> {
        let mut found = Vec::new();
        marks_below(&self.at("upper"), "", &mut found);
        found.sort();
        found
    }
}

fn marks_below(dir: &Path, below: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("readdir") {
        let entry = entry.expect("readdir");
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("stat").is_dir() {
            let marked = |name| getxattr(entry.path(), name, &mut [0u8; 8]).is_ok();
            if marked(TRUSTED) || marked(USER) {
                found.push(path.clone());
            }
            marks_below(&entry.path(), &format!("{path}/"), found);
        }
    }
}

fn mark(path: &Path, name: &str) {
    setxattr(path, name, b"y", XattrFlags::empty()).expect("setxattr");
}

/// Does something before the entry of a name is applied, and hears of what was found.
struct Watch<'w> {
    before: &'w str,
    act: &'w dyn Fn(),
    warnings: Vec<Warning>,
}

impl Observer for Watch<'_> {
    fn filters(&self) -> bool {
        true
    }

    fn filter(&mut self, entry: &Entry) -> Result<bool, Errno> {
        if entry.name == self.before.as_bytes() {
            (self.act)();
        }
        Ok(true)
    }

    fn warning(&mut self, warning: &Warning) {
        self.warnings.push(warning.clone());
    }
}

fn unpack(text: &str, root: &Path, upper: PathBuf) -> Result<Report, Error> {
    let options = Options::default().upper(upper);
    unpack_with(Source::memory(&archive(&layer(text))), root, &options, &mut ())
}

#[test]
fn a_mark_that_a_copy_up_brings_along_is_removed_and_reported() {
    if !needs::overlay() {
        return;
    }
    // Each kind of change that comes after the mark; the whiteouts before only look at d and d/e.
    for change in
        ["d/e/x=1", "d/e/", "d/e/f/g=1", "d/e/.wh..wh..opq", "l=>d/e/file", "d/e/.wh.file"]
    {
        let place = Place::new();
        fs::write(place.at("lower/d/e/file"), "").unwrap();
        let overlay = place.mount("");
        let act = || {
            fs::set_permissions(overlay.path().join("d/e"), Permissions::from_mode(0o700)).unwrap();
            mark(&place.at("upper/d"), TRUSTED);
            mark(&place.at("upper/d/e"), TRUSTED);
        };
        let last = String::from_utf8(layer(change)[0].name.clone()).unwrap();
        let mut watch = Watch { before: &last, act: &act, warnings: Vec::new() };
        let archive = archive(&layer(&format!("d/e/.wh.missing {change}")));
        let options = Options::default().upper(place.at("upper"));
        let source = Source::memory(&archive);
        let report = unpack_with(source, overlay.path(), &options, &mut watch).unwrap();

        assert_eq!(place.marks(), [""; 0], "{change}");
        assert_eq!(report.propagated_marks, 2, "{change}");
        let removed = report.skipped.get(SkipReason::PropagatedMark).expect("a reason");
        let mut examples: Vec<_> =
            removed.examples.iter().map(|it| (&*it.path, &*it.detail)).collect();
        examples.sort_unstable();
        assert_eq!(examples, [(&b"d"[..], TRUSTED.as_bytes()), (b"d/e", TRUSTED.as_bytes())]);
        let warned = watch.warnings.iter().filter(|it| it.reason == SkipReason::PropagatedMark);
        assert_eq!(warned.map(|it| it.entry).collect::<Vec<_>>(), [1, 1], "{change}");
        assert!(report.to_json().contains("\"propagated_marks\":2"));
    }
}

#[test]
fn marks_that_are_rightly_there_stay() {
    if !needs::overlay() {
        return;
    }
    type Prepare = fn(&Place);
    let nothing: Prepare = |_| {};
    let remade: Prepare = |place| {
        let overlay = place.mount("");
        fs::remove_dir_all(overlay.path().join("d")).unwrap();
        fs::create_dir_all(overlay.path().join("d/e")).unwrap();
    };
    let data: Prepare = |place| mark(&place.at("lower/d"), USER);
    let table: [(&str, Prepare, &str, &str, &[&str]); 5] = [
        ("in the upper directory before", remade, "", "d/x=1 d/e/x=1", &["d"]),
        ("replaced by the layer", nothing, "", "d/ .wh.d", &[]),
        ("deleted and made by the layer", nothing, "", "d=file", &[]),
        // A sound kernel marks each new directory below a merged one.
        ("made with redirect_dir", nothing, ",redirect_dir=on", "d/new/ d/e/x=1", &["d/new"]),
        // The mark of the other kind of mount is data, which each kernel copies.
        ("plain data", data, "", "d/x=1", &["d"]),
    ];
    for (case, prepare, options, text, marks) in table {
        let place = Place::new();
        prepare(&place);
        let overlay = place.mount(options);
        let report = unpack(text, &overlay.path(), place.at("upper")).unwrap();
        assert_eq!(place.marks(), marks, "{case}");
        assert_eq!(report.propagated_marks, 0, "{case}");
    }
}

#[test]
fn a_directory_keeps_its_attributes_and_times_when_it_is_copied_up() {
    if !needs::overlay() {
        return;
    }
    let place = Place::new();
    let before = fs::metadata(place.at("lower/d")).unwrap();
    let overlay = place.mount("");
    unpack("d/x=1", &overlay.path(), place.at("upper")).unwrap();
    let after = fs::metadata(place.at("upper/d")).unwrap();
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    assert_eq!(after.permissions(), before.permissions());
}

#[test]
fn an_upper_directory_that_is_not_this_mounts_is_refused_and_untouched() {
    if !needs::overlay() {
        return;
    }
    let (place, other) = (Place::new(), Place::new());
    let (overlay, _theirs) = (place.mount(""), other.mount(""));
    for wrong in [other.at("upper"), other.at("lower"), place.at("lower"), place.at("work")] {
        let error = unpack("d/x=1", &overlay.path(), wrong.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{}", wrong.display());
    }
    // No mount at all, or an option without meaning.
    let error = unpack("d/x=1", &place.at("upper"), place.at("upper")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let options = Options::default().upper(place.at("upper")).mode(Mode::Overlay);
    let error = unpack_with(Source::memory(&[]), place.at("upper"), &options, &mut ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(fs::read_dir(place.at("upper")).unwrap().count(), 0);
}

#[test]
fn a_symlink_in_the_upper_directory_leads_nowhere() {
    if !needs::overlay() {
        return;
    }
    let (place, outside) = (Place::new(), tempfile::tempdir().unwrap());
    fs::create_dir(outside.path().join("e")).unwrap();
    mark(outside.path(), TRUSTED);
    mark(&outside.path().join("e"), TRUSTED);
    let overlay = place.mount("");
    // Somebody swaps the upper directory's d for a symlink after the mount has seen it.
    let act = || {
        fs::set_permissions(overlay.path().join("d"), Permissions::from_mode(0o700)).unwrap();
        fs::rename(place.at("upper/d"), place.at("work/d")).unwrap();
        std::os::unix::fs::symlink(outside.path(), place.at("upper/d")).unwrap();
    };
    let mut watch = Watch { before: "d/e/x", act: &act, warnings: Vec::new() };
    let archive = archive(&layer("d/e/.wh.missing d/e/x=1"));
    let options = Options::default().upper(place.at("upper"));
    let result = unpack_with(Source::memory(&archive), overlay.path(), &options, &mut watch);
    result.unwrap_err();
    for path in [outside.path().to_owned(), outside.path().join("e")] {
        assert!(getxattr(&path, TRUSTED, &mut [0u8; 8]).is_ok(), "{}", path.display());
    }
    assert_eq!(fs::read_dir(outside.path().join("e")).unwrap().count(), 0);
}

#[test]
fn a_lower_tree_deeper_than_the_descriptor_budget_is_deleted_through_a_mount() {
    if !needs::overlay() {
        return;
    }
    let place = Place::new();
    fs::create_dir_all(place.at("lower").join("d/".repeat(100))).unwrap();
    let overlay = place.mount("");
    unpack(".wh.d new=1", &overlay.path(), place.at("upper")).unwrap();
    let left: Vec<_> = fs::read_dir(overlay.path()).unwrap().map(|it| it.unwrap()).collect();
    assert_eq!(left.iter().map(|it| it.file_name()).collect::<Vec<_>>(), ["new"]);
}
