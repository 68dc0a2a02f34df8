// SPDX-License-Identifier: Apache-2.0
//! The checked-in header is what the sources say.

use std::fs;
use std::path::Path;

/// In the order in which a reader of the header needs them.
const NOUNS: [&str; 15] = [
    "version",
    "error",
    "cancel",
    "growth",
    "source",
    "observer",
    "options",
    "skipped",
    "report",
    "unpack",
    "image_report",
    "image",
    "check",
    "scan",
    "audit",
];

fn generate() -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config =
        cbindgen::Config::from_file(top.join("cbindgen.toml")).expect("cbindgen.toml is read");
    config.after_includes = config.after_includes.map(|macros| version_macros() + &macros);

    let builder = NOUNS.iter().fold(cbindgen::Builder::new(), |builder, noun| {
        builder.with_src(top.join(format!("src/capi/{noun}.rs")))
    });
    let mut header = Vec::new();
    builder.with_config(config).generate().expect("src/capi is understood").write(&mut header);
    String::from_utf8(header).expect("a header is UTF-8")
}

fn version_macros() -> String {
    format!(
        "\n/* The version that this header belongs to; the library may be newer, see \
         ocilayer_version. */\n\
         #define OCILAYER_VERSION_MAJOR {}\n\
         #define OCILAYER_VERSION_MINOR {}\n\
         #define OCILAYER_VERSION_PATCH {}\n\
         #define OCILAYER_VERSION_NUMBER \\\n  \
         (OCILAYER_VERSION_MAJOR * 10000 + OCILAYER_VERSION_MINOR * 100 + OCILAYER_VERSION_PATCH)\n\
         #define OCILAYER_VERSION_STRING \"{}\"",
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
        env!("CARGO_PKG_VERSION"),
    )
}

/// `make header` runs this test with the variable set, which writes the header first.
#[test]
fn the_checked_in_header_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/ocilayer.h");
    let generated = generate();
    if std::env::var_os("OCILAYER_WRITE_HEADER").is_some() {
        fs::write(&path, &generated).expect("the header is written");
    }
    let checked_in = fs::read_to_string(&path).expect("the header is there");
    let lines = || checked_in.lines().zip(generated.lines()).enumerate();
    if let Some((number, (old, new))) = lines().find(|(_, (old, new))| old != new) {
        panic!("line {}: {old:?} should be {new:?}; `make header` writes it", number + 1);
    }
    assert_eq!(checked_in.len(), generated.len(), "`make header` writes the header anew");
}

#[test]
fn every_file_of_the_boundary_is_in_the_header_or_has_no_export() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capi");
    for file in fs::read_dir(top).expect("src/capi is there") {
        let path = file.expect("src/capi is read").path();
        let noun = path.file_stem().and_then(|stem| stem.to_str()).expect("names are UTF-8");
        if noun == "test_hooks" || NOUNS.contains(&noun) {
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source is read");
        assert!(!source.contains("no_mangle"), "{noun}.rs exports, but the header leaves it out");
    }
}

/// A field that the initializer lacks is zero all the same, and a warning in every caller's program.
#[test]
fn initializer_of_options_has_a_value_for_each_field() {
    let header = generate();
    let between = |start: &str, end: &str| {
        let (_, rest) = header.split_once(start).expect(start);
        rest.split_once(end).expect(end).0
    };
    let values = between("#define OCILAYER_OPTIONS_INIT", "}").split(',').count();
    let members = between("typedef struct ocilayer_options {", "\n} ocilayer_options;");
    let is_field = |line: &&str| line.ends_with(';') && !line.trim_start().starts_with('*');
    assert_eq!(values, members.lines().filter(is_field).count());
}
