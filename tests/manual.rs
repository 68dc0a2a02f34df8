// SPDX-License-Identifier: Apache-2.0
//! The manual pages of the C functions, one for each noun, are what the header says.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A page, what it is about, and the types and functions whose names begin with one of these.
struct Page {
    name: &'static str,
    about: &'static str,
    prefixes: &'static [&'static str],
}

const PAGES: [Page; 10] = [
    Page {
        name: "ocilayer_source",
        about: "where the bytes of a layer come from",
        prefixes: &["ocilayer_source", "ocilayer_read_fn", "ocilayer_growth"],
    },
    Page {
        name: "ocilayer_options",
        about: "how a layer is unpacked, scanned or audited, and callbacks",
        prefixes: &[
            "ocilayer_options",
            "ocilayer_mode",
            "ocilayer_owners",
            "ocilayer_id_range",
            "ocilayer_devices",
            "ocilayer_sync",
            "ocilayer_read_to",
            "ocilayer_compare",
            "ocilayer_entry",
            "ocilayer_filter",
            "ocilayer_lowers",
            "ocilayer_progress",
            "ocilayer_warning",
        ],
    },
    Page {
        name: "ocilayer_report",
        about: "what an unpack has done, and what it left out",
        prefixes: &[
            "ocilayer_report",
            "ocilayer_skipped",
            "ocilayer_skip_reason",
            "ocilayer_compression",
        ],
    },
    Page {
        name: "ocilayer_image",
        about: "all layers of an image, into a directory or a store",
        prefixes: &["ocilayer_image", "ocilayer_unpack_image"],
    },
    Page {
        name: "ocilayer_error",
        about: "what went wrong, and where",
        prefixes: &["ocilayer_error"],
    },
    Page {
        name: "ocilayer_cancel",
        about: "end what runs from any thread",
        prefixes: &["ocilayer_cancel"],
    },
    Page {
        name: "ocilayer_scan",
        about: "what is in a layer, without unpacking it",
        prefixes: &["ocilayer_scan", "ocilayer_finding"],
    },
    Page {
        name: "ocilayer_audit",
        about: "compare unpacked layers with what they were made of",
        prefixes: &["ocilayer_audit", "ocilayer_damage", "ocilayer_repair"],
    },
    Page {
        name: "ocilayer_check",
        about: "what the kernel does with the marks of opaque directories",
        prefixes: &["ocilayer_check", "ocilayer_verdict", "ocilayer_copy_up"],
    },
    Page {
        name: "ocilayer_version",
        about: "which library this is",
        prefixes: &["ocilayer_version", "ocilayer_gzip_backend"],
    },
];

/// These have pages that were written by hand, or are other names of what has one.
const ELSEWHERE: [&str; 5] = [
    "unpack_layer",
    "check_overlay_opaque_propagation",
    "ocilayer_unpack_layer",
    "ocilayer_check_overlay_opaque_propagation",
    "ocilayer_read",
];

/// A type or function of the header.
struct Item<'a> {
    name: &'a str,
    comment: Vec<&'a str>,
    declaration: Vec<&'a str>,
}

fn items(header: &str) -> Vec<Item<'_>> {
    let mut lines = header.lines().skip_while(|line| *line != "/**");
    let mut items = Vec::new();
    while let Some(line) = lines.next() {
        if line != "/**" {
            continue;
        }
        let comment = lines.by_ref().take_while(|line| *line != " */");
        let comment = comment.map(|line| line.trim_start_matches(" *").trim()).collect();
        let mut declaration = Vec::new();
        for line in lines.by_ref() {
            declaration.push(line);
            let in_braces = declaration[0].ends_with('{');
            if line.ends_with(';') && (!in_braces || line.starts_with('}')) {
                break;
            }
        }
        items.push(Item { name: name_of(&declaration), comment, declaration });
    }
    items
}

/// The last word of a type; of a function, that before the first parenthesis.
fn name_of<'a>(declaration: &[&'a str]) -> &'a str {
    let last = declaration[declaration.len() - 1].trim_end_matches(';');
    let word = |text: &'a str| text.rsplit([' ', '*', '(']).next().unwrap_or(text);
    if let Some((_, callback)) = declaration[0].split_once("(*") {
        return callback.split(')').next().unwrap_or(callback);
    }
    match declaration[0].split_once('(') {
        Some((before, _)) if !declaration[0].starts_with("typedef") => word(before),
        _ => word(last),
    }
}

/// Text as mdoc takes it: `@name` is an argument, `` `text` `` is literal.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut literal = false;
    let mut argument = false;
    for char in text.chars() {
        if argument && !(char.is_alphanumeric() || char == '_') {
            out.push_str("\\fP");
            argument = false;
        }
        match char {
            '\\' => out.push_str("\\e"),
            '@' => {
                out.push_str("\\fI");
                argument = true;
            }
            '`' => {
                out.push_str(if literal { "\\fP" } else { "\\fB" });
                literal = !literal;
            }
            char => out.push(char),
        }
    }
    if argument {
        out.push_str("\\fP");
    }
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

/// A sentence begins a line, as mdoc has it.
fn paragraphs(out: &mut String, comment: &[&str]) {
    for line in comment {
        if line.is_empty() {
            out.push_str(".Pp\n");
            continue;
        }
        for sentence in line.replace(". ", ".\n").replace("? ", "?\n").lines() {
            writeln!(out, "{}", inline(sentence)).expect("a string takes all");
        }
    }
}

/// The members of a struct or enum, each with its comment.
fn members(out: &mut String, declaration: &[&str]) {
    let [_, inside @ .., _] = declaration else {
        return;
    };
    out.push_str(".Bl -tag -width Ds\n");
    let mut comment = Vec::new();
    for line in inside.iter().map(|line| line.trim()) {
        if line.starts_with("/**") || line == "*/" {
            continue;
        }
        if let Some(text) = line.strip_prefix('*') {
            comment.push(text.trim());
            continue;
        }
        writeln!(out, ".It Li {}", quoted(line.trim_end_matches([',', ';']))).expect("taken");
        paragraphs(out, &std::mem::take(&mut comment));
    }
    out.push_str(".El\n");
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\e").replace('"', "\\(dq"))
}

fn prototype(out: &mut String, item: &Item) {
    let whole = item.declaration.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let (before, rest) = whole.split_once('(').expect("a function has parentheses");
    let result = before.trim_end_matches(item.name).trim();
    writeln!(out, ".Ft {}\n.Fo {}", quoted(result), item.name).expect("taken");
    for parameter in rest.trim_end_matches(");").split(", ") {
        writeln!(out, ".Fa {}", quoted(parameter)).expect("taken");
    }
    out.push_str(".Fc\n");
}

fn is_function(item: &Item) -> bool {
    !item.declaration[0].starts_with("typedef")
}

fn page(page: &Page, items: &[Item]) -> String {
    let mine = || items.iter().filter(|item| belongs(page, item));
    let mut out = format!(
        ".\\\" SPDX-License-Identifier: Apache-2.0\n\
         .\\\" Generated from include/ocilayer.h by `make header`.\n\
         .Dd November 27, 2026\n.Dt {} 3\n.Os\n.Sh NAME\n",
        page.name.to_uppercase()
    );
    // The page's own name comes first, and each function can be looked up.
    let functions = mine().filter(|item| is_function(item)).map(|item| item.name);
    let others = functions.filter(|name| *name != page.name);
    let names: Vec<&str> = std::iter::once(page.name).chain(others).collect();
    writeln!(out, ".Nm {}", names.join(" ,\n.Nm ")).expect("taken");
    write!(
        out,
        ".Nd {}\n.Sh LIBRARY\nlibocilayer, to be linked with\n\
         .Li \"pkg-config --cflags --libs ocilayer\"\n.Sh SYNOPSIS\n.In ocilayer.h\n",
        page.about
    )
    .expect("taken");
    for item in mine().filter(|item| is_function(item)) {
        prototype(&mut out, item);
    }
    out.push_str(".Sh DESCRIPTION\n");
    for item in mine() {
        writeln!(out, ".Ss {}", item.name).expect("taken");
        if item.declaration[0].contains("(*") {
            writeln!(out, ".Bd -literal\n{}\n.Ed\n.Pp", item.declaration.join("\n"))
                .expect("taken");
        }
        paragraphs(&mut out, &item.comment);
        if !is_function(item) {
            members(&mut out, &item.declaration);
        }
    }
    out.push_str(
        ".Sh SEE ALSO\n.Xr ocilayer 1 ,\n.Xr check_overlay_opaque_propagation 3 ,\n\
         .Xr unpack_layer 3\n",
    );
    out
}

fn belongs(page: &Page, item: &Item) -> bool {
    !ELSEWHERE.contains(&item.name)
        && page.prefixes.iter().any(|prefix| {
            let rest = item.name.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        })
}

/// `make header` runs this test with the variable set, which writes the pages first.
#[test]
fn manual_pages_of_functions_are_the_generated_ones() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = fs::read_to_string(top.join("include/ocilayer.h")).expect("the header is there");
    let items = items(&header);
    for a_page in &PAGES {
        let path = top.join("man").join(format!("{}.3", a_page.name));
        let generated = page(a_page, &items);
        if std::env::var_os("OCILAYER_WRITE_HEADER").is_some() {
            fs::write(&path, &generated).expect("the page is written");
        }
        let checked_in = fs::read_to_string(&path).unwrap_or_default();
        assert!(checked_in == generated, "`make header` writes {} anew", path.display());
    }
}

#[test]
fn each_type_and_function_of_the_header_is_on_one_page() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = fs::read_to_string(top.join("include/ocilayer.h")).expect("the header is there");
    for item in items(&header) {
        let pages = PAGES.iter().filter(|page| belongs(page, &item)).count();
        let expected = usize::from(!ELSEWHERE.contains(&item.name));
        assert_eq!(pages, expected, "{} is on {pages} pages", item.name);
    }
}
