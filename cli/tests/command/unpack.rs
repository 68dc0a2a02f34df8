// SPDX-License-Identifier: Apache-2.0
//! `ocilayer unpack` as a user runs it.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    Ran, command, gzip, is_root, layer, layer_of, ocilayer, small_layer, terminal,
};

/// A directory with `layer.tar` and an empty `root`.
fn place(layer: &[u8]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("layer.tar"), layer).unwrap();
    fs::create_dir(place.path().join("root")).unwrap();
    place
}

fn unpack(place: &TempDir, options: &[&str]) -> Ran {
    let mut arguments = vec!["unpack", "layer.tar", "root"];
    arguments.splice(1..1, options.iter().copied());
    ocilayer(place.path(), &arguments, b"")
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn a_layer_is_applied_and_summed_up() {
    let place = place(&small_layer());
    let ran = unpack(&place, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(fs::read_to_string(place.path().join("root/etc/motd")).unwrap(), "welcome\n");
    for expected in [
        "entries    5: 1 file, 1 directory, 1 symlink\n",
        "whiteouts  1\n",
        "not compressed",
        "digest     sha256:",
        "diffID     sha256:",
        "time       ",
        "skipped    1 aufs metadata\n             \".wh..wh.plnk\"\n",
    ] {
        assert!(ran.stdout.contains(expected), "{expected:?} is not in {}", ran.stdout);
    }
}

#[test]
fn an_upper_directory_is_for_mounts_in_directory_mode() {
    let place = place(&small_layer());
    let table = [
        (vec!["--mode", "overlay", "--upper", "root"], 2, "--upper is for directory mode"),
        (vec!["--upper", "missing"], 1, "upper directory missing: No such file"),
        (vec!["--upper", "root"], 1, "the root is no overlay mount of it"),
    ];
    for (options, code, message) in table {
        let ran = unpack(&place, &options);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains(message), "{ran:?}");
    }
    assert_eq!(fs::read_dir(place.path().join("root")).unwrap().count(), 0);
}

#[test]
fn json_is_the_report_and_nothing_else() {
    let place = place(&small_layer());
    let ran = unpack(&place, &["--json"]);
    let report = json(&ran);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(report["partial"], false);
    assert_eq!(report["entries"]["total"], 5);
    assert_eq!(report["entries"]["files"], 1);
    assert_eq!(report["whiteouts"], 1);
    assert_eq!(report["skipped"]["aufs_metadata"]["examples"][0]["path"], ".wh..wh.plnk");
    assert_eq!(report["blob_digest"], report["diff_id"], "the layer is not compressed");
}

#[test]
fn quiet_prints_nothing() {
    let ran = unpack(&place(&small_layer()), &["--quiet"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn verbose_names_what_is_skipped_without_control_characters() {
    let hostile = layer(&[(".wh..wh.\x1b[2J", b'0', b"")]);
    let ran = unpack(&place(&hostile), &["--verbose"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let expected = "ocilayer: entry 0 \".wh..wh.\\u{1b}[2J\": aufs metadata\n";
    assert_eq!(ran.stderr, expected);
    assert!(!ran.stdout.contains('\x1b'), "{ran:?}");
}

#[test]
fn a_dash_is_standard_input() {
    let place = place(b"not a layer");
    let ran = ocilayer(place.path(), &["unpack", "-", "root"], &small_layer());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(place.path().join("root/etc/motd").exists());
}

#[test]
fn whiteouts_depend_on_what_is_known_of_the_parents() {
    let table: &[(&[&str], bool)] = &[
        (&["--mode", "overlay"], true),
        (&["--mode", "overlay", "--lower", ""], false),
        (&["--mode", "overlay", "--lower", "empty"], false),
        (&["--mode", "overlay", "--lower", "empty:parent"], true),
        (&["--mode", "overlay", "--lower", "empty", "--lower", "parent"], true),
        (&["--mode", "overlay", "--lower", r"col\:on:empty"], true),
        (&["--mode", "overlay-userxattr", "--lower", "parent"], true),
    ];
    for (options, expected) in table {
        let place = place(&small_layer());
        for directory in ["empty", "parent", "col:on"] {
            fs::create_dir(place.path().join(directory)).unwrap();
        }
        fs::write(place.path().join("parent/gone"), "").unwrap();
        fs::write(place.path().join("col:on/gone"), "").unwrap();
        let ran = unpack(&place, options);
        assert_eq!(ran.code, Some(0), "{options:?} {ran:?}");
        let node = fs::symlink_metadata(place.path().join("root/gone"));
        let whiteout = node.is_ok_and(|n| n.file_type().is_char_device() && n.rdev() == 0);
        assert_eq!(whiteout, *expected, "{options:?}");
    }
}

#[test]
fn digests_are_checked() {
    let place = place(&small_layer());
    let right = json(&unpack(&place, &["--json"]))["blob_digest"].as_str().unwrap().to_owned();
    let wrong = format!("sha256:{}", "0".repeat(64));

    let ran = unpack(&place, &["--digest", &right, "--diff-id", &right]);
    assert_eq!(ran.code, Some(0), "{ran:?}");

    for option in ["--digest", "--diff-id"] {
        let ran = unpack(&place, &[option, &wrong]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.starts_with("ocilayer: "), "{ran:?}");
        for expected in [&right, &wrong, "root holds a part of the layer"] {
            assert!(ran.stderr.contains(expected), "{expected:?} is not in {}", ran.stderr);
        }

        let ran = unpack(&place, &[option, &wrong, "--json"]);
        let answer = json(&ran);
        assert_eq!(ran.code, Some(1));
        assert_eq!(answer["error"]["kind"], "digest");
        assert_eq!(answer["report"]["partial"], true);
        assert!(answer["error"]["message"].as_str().unwrap().contains(&right), "{answer}");
    }
}

#[test]
fn an_error_tells_entry_and_offset() {
    let cut = &small_layer()[..2 * 512 + 256];
    let ran = unpack(&place(cut), &["--json"]);
    let answer = json(&ran);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(answer["error"]["kind"], "archive");
    assert!(answer["error"]["errno"].as_i64().unwrap() > 0, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(ran.stderr.contains(message), "{ran:?}");

    let climbing = layer(&[("ok", b'0', b""), ("a/../../up", b'0', b"")]);
    let place = place(&climbing);
    let ran = unpack(&place, &["--json"]);
    let answer = json(&ran);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(answer["error"]["kind"], "layer");
    assert_eq!(answer["error"]["entry"], 1);
    assert_eq!(answer["error"]["path"], "a/../../up");
    assert_eq!(answer["error"]["offset"], 512);
    assert!(!place.path().join("up").exists());
}

#[test]
fn failures_are_status_1() {
    let table: &[(&str, &[&str], &str)] = &[
        ("layer is missing", &["missing.tar", "root"], "missing.tar: No such file"),
        ("layer is a directory", &["root", "root"], "root: no oci-layout and index.json"),
        ("root is missing", &["layer.tar", "missing"], "missing: No such file"),
        ("root is a file", &["layer.tar", "layer.tar"], "layer.tar: Not a directory"),
        ("too many entries", &["--max-entries", "2", "layer.tar", "root"], "more than 2 entries"),
        ("too many bytes", &["--max-bytes", "1K", "layer.tar", "root"], "bytes is 1024"),
        (
            "lower is missing",
            &["--mode", "overlay", "--lower", "nowhere", "layer.tar", "root"],
            "nowhere: No such file",
        ),
    ];
    for (name, arguments, message) in table {
        let arguments = [&["unpack"], *arguments].concat();
        let ran = ocilayer(place(&small_layer()).path(), &arguments, b"");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{name}: {ran:?}");
        assert!(ran.stderr.starts_with("ocilayer: "), "{name}: {ran:?}");
        assert!(ran.stderr.contains(message), "{name}: {ran:?}");
    }
}

#[test]
fn memory_is_limited_as_it_is_asked_for() {
    let many: Vec<String> = (0..100).map(|number| format!("d{number}/")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), b'5', &b""[..])).collect();
    let place = place(&layer(&many));
    let ran = unpack(&place, &["--max-memory", "16K", "--json"]);
    let answer = json(&ran);
    assert_eq!((ran.code, &answer["error"]["kind"]), (Some(1), &"limit".into()), "{ran:?}");
    assert!(ran.stderr.contains("the limit memory is 16384"), "{ran:?}");
    assert_eq!(unpack(&place, &["--max-memory", "1M"]).code, Some(0));
    assert_eq!(unpack(&place, &["--max-memory", "some"]).code, Some(2));
}

#[test]
fn command_lines_without_meaning_are_status_2() {
    let table: &[&[&str]] = &[
        &[],
        &["explode"],
        &["unpack"],
        &["unpack", "layer.tar"],
        &["unpack", "layer.tar", "root", "more"],
        &["unpack", "--mode", "sideways", "layer.tar", "root"],
        &["unpack", "--lower", "", "layer.tar", "root"],
        &["unpack", "--mode", "overlay", "--lower", "a::b", "layer.tar", "root"],
        &["unpack", "--mode", "overlay", "--lower", "a\\", "layer.tar", "root"],
        &["unpack", "--digest", "md5:00", "layer.tar", "root"],
        &["unpack", "--diff-id", "sha256:00", "layer.tar", "root"],
        &["unpack", "--threads", "1025", "layer.tar", "root"],
        &["unpack", "--threads", "-1", "layer.tar", "root"],
        &["unpack", "--sync", "maybe", "layer.tar", "root"],
        &["unpack", "--map-uid", "0:0:1", "layer.tar", "root"],
        &["unpack", "--map-uid", "0:1", "--map-gid", "0:0:1", "layer.tar", "root"],
        &["unpack", "--owners", "ignore", "--map-user", "root", "layer.tar", "root"],
        &["unpack", "--map-user", "no-such-user", "layer.tar", "root"],
        &["unpack", "--max-zstd-window", "9", "layer.tar", "root"],
        &["unpack", "--max-bytes", "lots", "layer.tar", "root"],
        &["unpack", "--quiet", "--json", "layer.tar", "root"],
        // Ranges that overlap: only the library looks at them together.
        &[
            "unpack",
            "--map-uid",
            "0:0:9",
            "--map-uid",
            "8:100:9",
            "--map-gid",
            "0:0:9",
            "layer.tar",
            "root",
        ],
    ];
    for arguments in table {
        let place = place(&small_layer());
        let ran = ocilayer(place.path(), arguments, b"");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
        let root = fs::read_dir(place.path().join("root")).unwrap();
        assert_eq!(root.count(), 0, "{arguments:?} touched the root");
    }
}

#[test]
fn help_is_status_0_and_tells_the_others() {
    for (arguments, expected) in [
        (&["--help"][..], "Exit status:"),
        (&["unpack", "--help"], "--lower <DIR[:DIR...]>"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let ran = ocilayer(Path::new("/"), arguments, b"");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        assert!(ran.stdout.contains(expected), "{ran:?}");
    }
}

#[test]
fn a_report_that_cannot_be_printed_is_a_failure() {
    let place = place(&small_layer());
    for option in ["--json", "--verbose"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = command(place.path(), &["unpack", option, "layer.tar", "root"]);
        let output = command.stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{option}: {stderr}");
        assert!(stderr.contains("standard output: "), "{option}: {stderr}");
    }
}

#[test]
fn owners_are_kept_shifted_or_ignored() {
    if !is_root("owners_are_kept_shifted_or_ignored") {
        return;
    }
    let shift = ["--map-uid", "0:100000:65536", "--map-gid", "0:200000:65536"];
    let table: &[(&[&str], (u32, u32))] = &[
        (&[], (7, 8)),
        (&["--owners", "keep"], (7, 8)),
        (&["--owners", "ignore"], (0, 0)),
        (&shift, (100_007, 200_008)),
    ];
    for (options, expected) in table {
        let place = place(&layer_of((7, 8), &[("motd", b'0', b"")]));
        let ran = unpack(&place, options);
        assert_eq!(ran.code, Some(0), "{options:?} {ran:?}");
        let motd = fs::metadata(place.path().join("root/motd")).unwrap();
        assert_eq!((motd.uid(), motd.gid()), *expected, "{options:?}");
    }
}

#[test]
fn devices_can_be_left_out() {
    let place = place(&layer(&[("null", b'3', b"")]));
    let report = json(&unpack(&place, &["--json", "--devices", "skip"]));
    assert_eq!(report["skipped"]["device"]["count"], 1);
    assert!(!place.path().join("root/null").exists());
}

#[test]
fn progress_is_shown_on_a_terminal_and_only_there() {
    let place = place(b"");
    let (mut screen, stderr) = terminal();
    let mut child = waiting(&place, stderr.into());
    let mut shown = Vec::new();
    // The command waits for its input, so the bar is all that can come.
    while !contains(&shown, b"B/s") {
        let mut part = [0; 256];
        let count = screen.read(&mut part).expect("the bar, before the terminal closes");
        shown.extend(&part[..count]);
    }
    assert!(finish(child.stdin.take().unwrap(), &mut child).success());
    let mut summary = String::new();
    child.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
    assert!(summary.starts_with("entries "), "{summary:?}");

    let mut child = waiting(&place, Stdio::piped());
    assert!(finish(child.stdin.take().unwrap(), &mut child).success());
    let mut shown = String::new();
    child.stderr.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(shown, "");
}

#[test]
fn signals_end_an_unpack_that_waits_for_its_source() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = place(b"");
        let fifo = place.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let mut command = command(place.path(), &["unpack", "--json", "fifo", "root"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Opening returns when the command has opened the other end, its handlers in place. The
        // half entry keeps it waiting for more.
        let mut writer = File::options().write(true).open(&fifo).unwrap();
        writer.write_all(&small_layer()[..700]).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(writer);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{signal:?}: {stderr}");
        assert!(stderr.starts_with("ocilayer: cancelled"), "{signal:?}: {stderr}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["error"]["kind"], "cancelled");
    }
}

/// Names of the directory that is deleted: many enough for a signal to come in the midst of them, and
/// no more than ext4 gives one file.
const NAMES: u32 = 60_000;

#[test]
fn signal_ends_the_deletion_of_a_directory_that_somebody_fills() {
    // A deletion may be over before the signal is heard: then another one.
    for _ in 0..20 {
        let place = place(&layer(&[(".wh.top", b'0', b"")]));
        let top = place.path().join("root/top");
        fs::create_dir(&top).unwrap();
        let one = place.path().join("one");
        fs::write(&one, "").unwrap();
        (0..NAMES).for_each(|number| fs::hard_link(&one, top.join(number.to_string())).unwrap());
        let full = AtomicBool::new(false);
        let ended = thread::scope(|scope| {
            scope.spawn(|| {
                for number in (0..1000).cycle().take_while(|_| !full.load(Ordering::Relaxed)) {
                    // Fails once there is no such directory.
                    let _ = File::create(top.join(format!("new{number}")));
                }
            });
            let ended = end_in_the_midst(&place, &one);
            full.store(true, Ordering::Relaxed);
            ended
        });
        let (status, message) = ended.expect("it goes on, whatever signal comes");
        if message.starts_with("ocilayer: cancelled") && fs::metadata(&one).unwrap().nlink() > 1 {
            assert_eq!(status.code(), Some(1), "{message}");
            return;
        }
    }
    panic!("no signal ended a deletion before all was deleted");
}

/// Has the command delete, and signals it as soon as `one` has lost a name. How it ended, or None if
/// it did not.
fn end_in_the_midst(place: &TempDir, one: &Path) -> Option<(ExitStatus, String)> {
    let links = || fs::metadata(one).unwrap().nlink();
    let all = links();
    let mut command = command(place.path(), &["unpack", "layer.tar", "root"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while links() == all && child.try_wait().unwrap().is_none() {}
    // Its number is its own until it has been waited for.
    if child.try_wait().unwrap().is_none() {
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    }
    for _ in 0..PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            let mut message = String::new();
            child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
            return Some((status, message));
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// Looks at a command that should end, 10 ms apart: far more than any needs.
const PATIENCE: u32 = 6_000;

/// The command, reading a pipe that nothing was written to yet.
fn waiting(place: &TempDir, stderr: Stdio) -> Child {
    let mut command = command(place.path(), &["unpack", "-", "root"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap()
}

fn finish(mut stdin: impl Write, child: &mut Child) -> ExitStatus {
    stdin.write_all(&small_layer()).unwrap();
    drop(stdin);
    child.wait().unwrap()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Any file system may have a file that is called as docker's manifest.
#[test]
fn layer_with_a_manifest_of_no_images_is_a_layer() {
    for manifest in ["[]", "{}", "[{}]", "no json"] {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(manifest.len() as u64);
        archive.append_data(&mut header, "manifest.json", manifest.as_bytes()).unwrap();
        let place = place(&archive.into_inner().unwrap());
        let ran = unpack(&place, &["--owners", "ignore"]);
        assert_eq!(ran.code, Some(0), "{manifest}: {ran:?}");
    }
}

#[test]
fn empty_standard_input_is_no_layer_unless_its_digest_says_so() {
    let place = place(b"");
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let ran = ocilayer(place.path(), &["unpack", "-", "root"], b"");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("standard input is empty"), "{ran:?}");
    for option in ["--digest", "--diff-id"] {
        let ran = ocilayer(place.path(), &["unpack", option, empty, "-", "root"], b"");
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let ran = ocilayer(place.path(), &["scan", "-"], b"");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("standard input is empty"), "{ran:?}");
    // A file of no bytes was there before anybody asked.
    assert_eq!(unpack(&place, &[]).code, Some(0));
}

#[test]
fn exceeded_limit_is_named() {
    let place = place(&small_layer());
    let ran = unpack(&place, &["--max-entries", "2"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("the limit entries is 2; --max-entries raises it"), "{ran:?}");
    let ran = unpack(&place, &["--max-bytes", "1K"]);
    assert!(ran.stderr.contains("the limit bytes is 1024; --max-bytes raises it"), "{ran:?}");
}

#[test]
fn excluded_names_are_left_out_with_all_below() {
    let place = place(&layer(&[
        ("etc/", b'5', b""),
        ("etc/motd", b'0', b"1"),
        ("usr/", b'5', b""),
        ("usr/share/doc/x", b'0', b"1"),
        ("usr/share/man", b'0', b"1"),
        ("a.log", b'0', b"1"),
    ]));
    let ran =
        unpack(&place, &["--exclude", "/etc/", "--exclude", "usr/share/d*", "--exclude", "*.log"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let there = |name: &str| place.path().join("root").join(name).exists();
    for (name, expected) in
        [("etc", false), ("usr/share/doc", false), ("usr/share/man", true), ("a.log", false)]
    {
        assert_eq!(there(name), expected, "{name}");
    }
    for pattern in ["", "/", "./", "a[", "***"] {
        let ran = unpack(&place, &["--exclude", pattern]);
        assert_eq!(ran.code, Some(2), "{pattern}: {ran:?}");
    }
}

#[test]
fn blobs_digest_is_left_out_on_request() {
    let place = place(&gzip(&small_layer()));
    let ran = unpack(&place, &["--json", "--no-blob-digest"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(report["blob_digest"].is_null() && report["diff_id"].is_string(), "{report}");
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(unpack(&place, &["--no-blob-digest", "--digest", &digest]).code, Some(2));
}

#[test]
fn json_is_an_object_whatever_fails() {
    let place = place(&small_layer());
    for arguments in [
        &["unpack", "--json", "--lower", "x", "layer.tar", "root"][..],
        &["unpack", "--json", "none.tar", "root"],
        &["unpack", "--json", "layer.tar", "none"],
        &["unpack", "--json", "--max-entries", "1", "layer.tar", "root"],
        &["unpack", "--json", "-", "root"],
    ] {
        let ran = ocilayer(place.path(), arguments, b"");
        assert_ne!(ran.code, Some(0), "{ran:?}");
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        assert!(answer["error"]["message"].is_string(), "{ran:?}");
        assert!(!ran.stderr.contains("os error"), "{ran:?}");
    }
}

#[test]
fn root_that_nothing_was_made_in_holds_no_part() {
    let place = place(&layer(&[("../up", b'0', b"1")]));
    let ran = unpack(&place, &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!ran.stderr.contains("holds a part"), "{ran:?}");
}

#[test]
fn version_names_the_backend() {
    let ran = ocilayer(Path::new("."), &["-V"], b"");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let start = format!("ocilayer {}", env!("CARGO_PKG_VERSION"));
    assert!(ran.stdout.starts_with(&start), "{ran:?}");
    assert!(ran.stdout.contains(", gzip by "), "{ran:?}");
}

#[test]
fn plain_user_is_told_which_options_help_with_owners() {
    if !is_root("plain_user_is_told_which_options_help_with_owners") {
        return;
    }
    let place = place(&layer_of((3, 4), &[("a", b'0', b"1")]));
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    chown(place.path().join("root"), Some(65534), Some(65534)).unwrap();
    let run = |owners: &[&str]| {
        let words = [&["unpack"], owners, &["layer.tar", "root"]].concat();
        // A copy: the build's own directory may be closed to others.
        let own = place.path().join("ocilayer");
        fs::copy(env!("CARGO_BIN_EXE_ocilayer"), &own).unwrap();
        let mut command = Command::new(own);
        command.args(words).current_dir(place.path()).uid(65534).gid(65534).output().unwrap()
    };
    let refused = run(&[]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("owners with --map-user or --owners ignore"), "{message}");
    let taken = run(&["--owners", "ignore"]);
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
}
