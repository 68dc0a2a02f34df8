// SPDX-License-Identifier: Apache-2.0
//! Layers of one kind of entry each, as large as one likes.

use crate::common::archive::{
    Entry, SparseForm, archive, dir, extended, file, gzip, hardlink, opaque, pax, symlink,
    whiteout, zstd,
};
use crate::measure::Way::{
    self, Audit, Directory, DirectoryTwo, Overlay, OverlayTwo, Scan, Userxattr,
};

/// A layer, and what it is put on, of any size.
pub struct Shape {
    pub name: String,
    pub ways: &'static [Way],
    /// The size to begin with.
    pub from: usize,
    /// No layer is larger. What costs too little to be measured then is cheap enough.
    pub largest: usize,
    /// That each entry makes, implied directories included.
    pub names: usize,
    pub lower: Make,
    pub layer: Make,
    pub compress: Compress,
}

type Make = Box<dyn Fn(usize) -> Vec<Entry>>;
type Compress = fn(Vec<u8>, usize) -> Vec<u8>;

impl Shape {
    pub fn new(
        name: impl Into<String>,
        ways: &'static [Way],
        layer: impl Fn(usize) -> Vec<Entry> + 'static,
    ) -> Shape {
        Shape {
            name: name.into(),
            ways,
            from: 4_000,
            // Below the 65,000 hardlinks that ext4 gives a file.
            largest: 64_000,
            names: 1,
            lower: Box::new(|_| Vec::new()),
            layer: Box::new(layer),
            compress: |archive, _| archive,
        }
    }

    fn from(self, from: usize) -> Shape {
        Shape { from, ..self }
    }

    pub fn names(self, names: usize) -> Shape {
        Shape { names, ..self }
    }

    fn largest(self, largest: usize) -> Shape {
        Shape { largest, ..self }
    }

    pub fn lower(self, lower: impl Fn(usize) -> Vec<Entry> + 'static) -> Shape {
        Shape { lower: Box::new(lower), ..self }
    }

    fn compress(self, compress: Compress) -> Shape {
        Shape { compress, ..self }
    }

    pub fn blob(&self, n: usize) -> Vec<u8> {
        (self.compress)(archive(&(self.layer)(n)), n)
    }
}

/// Where names and kinds matter.
const APPLIED: &[Way] = &[Directory, Overlay, Scan];
const APPLIED_AUDITED: &[Way] = &[Directory, Overlay, Scan, Audit];
/// Where threads may share the work, or meet.
const SHARED: &[Way] = &[Directory, DirectoryTwo, Overlay, OverlayTwo, Scan, Audit];
const MARKED: &[Way] = &[Directory, Userxattr, Overlay, Scan, Audit];
/// What nobody but the archive's reader sees.
const READ: &[Way] = &[Directory, Scan];
const DECOMPRESSED: &[Way] = &[Directory, DirectoryTwo];

pub fn shapes() -> Vec<Shape> {
    [names(), links(), deletions(), replacements(), xattrs(), headers(), streams()]
        .into_iter()
        .flatten()
        .collect()
}

pub fn numbered(n: usize, make: impl Fn(usize) -> Entry) -> Vec<Entry> {
    (0..n).map(make).collect()
}

/// Several entries for each number.
fn in_turn<const N: usize>(n: usize, make: impl Fn(usize) -> [Entry; N]) -> Vec<Entry> {
    (0..n / N).flat_map(make).collect()
}

/// Components of the deepest names; the limit is 512.
const DEPTH: usize = 500;

/// Number `i` of directories in chains that are `depth` deep.
fn chained(i: usize, depth: usize) -> String {
    format!("c{}{}", i / depth, "/d".repeat(i % depth))
}

fn names() -> Vec<Shape> {
    let alike = |i| format!("{}{i:06}", "n".repeat(240));
    vec![
        Shape::new("files", SHARED, |n| numbered(n, |i| file(format!("d/{i}")).data("x"))),
        Shape::new("directories", APPLIED_AUDITED, |n| numbered(n, |i| dir(format!("d/{i}"))))
            .from(9_000),
        Shape::new("directories with a file each", SHARED, |n| {
            in_turn(n, |i| [dir(format!("{i}")), file(format!("{i}/f"))])
        }),
        Shape::new("chains of directories", APPLIED_AUDITED, |n| {
            numbered(n, |i| dir(chained(i, DEPTH)))
        })
        .from(DEPTH),
        Shape::new("implied directories", APPLIED_AUDITED, |n| {
            numbered(n, |i| file(format!("{i}/a/b/c/f")))
        })
        .names(5)
        .from(2_000),
        Shape::new("files of names alike", &[Scan, Audit], move |n| {
            numbered(n, |i| file(alike(i)))
        }),
        Shape::new("directories of names alike", APPLIED, move |n| numbered(n, |i| dir(alike(i)))),
        Shape::new("files behind thirty symlinks", APPLIED_AUDITED, |n| {
            let chain = (0..30).map(|i| symlink(format!("s{i}"), format!("s{}", i + 1)));
            let behind = in_turn(n, |i| [file(format!("s0/{i}")), file(format!("o{i}"))]);
            chain.chain([symlink("s30", "d"), dir("d")]).chain(behind).collect()
        })
        .from(250),
    ]
}

/// A path that is nearly as long as one may be.
fn far_away() -> String {
    vec!["n".repeat(240); 15].join("/")
}

fn links() -> Vec<Shape> {
    let to_one = |n| numbered(n, |i| hardlink(format!("d/{i}"), "d/f"));
    vec![
        Shape::new("hardlinks to an own file", APPLIED_AUDITED, move |n| {
            [vec![file("d/f")], to_one(n)].concat()
        }),
        Shape::new("hardlinks to a lower file", APPLIED_AUDITED, to_one)
            .lower(|_| vec![file("d/f")]),
        Shape::new("hardlinks of one name to a lower file", APPLIED_AUDITED, |n| {
            numbered(n, |_| hardlink("d/l", "d/f"))
        })
        .lower(|_| vec![file("d/f")]),
        Shape::new("hardlinks to lower files", APPLIED_AUDITED, |n| {
            numbered(n, |i| hardlink(format!("d/l{i}"), format!("d/{i}")))
        })
        .lower(|n| numbered(n, |i| file(format!("d/{i}"))))
        .names(2),
        Shape::new("hardlinks to a lower file far away", APPLIED_AUDITED, |n| {
            numbered(n, |i| hardlink(format!("{i}"), "s/f"))
        })
        .lower(|_| vec![file(far_away() + "/f"), symlink("s", far_away())])
        .from(1_000),
    ]
}

fn deletions() -> Vec<Shape> {
    let nested = |n| numbered(n, |i| dir(chained(i, 50)));
    let files = |n| numbered(n, |i| file(format!("d/{i}")));
    vec![
        Shape::new("whiteouts", MARKED, |n| numbered(n, |i| whiteout(&format!("d/{i}"))))
            .lower(files),
        Shape::new("whiteouts of nothing", APPLIED_AUDITED, |n| {
            numbered(n, |i| whiteout(&format!("d/{i}")))
        })
        .lower(|_| vec![file("d/f")]),
        Shape::new("markers of one directory", APPLIED_AUDITED, |n| {
            in_turn(n, |i| [opaque("d"), file(format!("d/n{i}"))])
        })
        .lower(files),
        Shape::new("markers between directories", APPLIED_AUDITED, |n| {
            in_turn(n, |i| [opaque("d"), dir(format!("d/n{i}"))])
        })
        .lower(|n| numbered(n, |i| dir(format!("d/{i}")))),
        Shape::new("markers of many directories", MARKED, |n| {
            numbered(n, |i| opaque(&format!("d/{i}")))
        })
        .lower(|n| numbered(n, |i| file(format!("d/{i}/f"))))
        .from(1_000),
        Shape::new("markers of nested directories", APPLIED_AUDITED, move |n| {
            let inside_out = (0..n).rev().map(|i| opaque(&chained(i, 50)));
            nested(n).into_iter().chain(inside_out).collect()
        })
        .lower(nested)
        .from(1_000),
        Shape::new("markers of the root", APPLIED_AUDITED, |n| {
            in_turn(n, |i| [opaque(""), file(format!("n{i}"))])
        })
        .lower(|n| numbered(n, |i| file(format!("{i}")))),
    ]
}

fn replacements() -> Vec<Shape> {
    let again = |i| match i % 3 {
        0 => file("d/x"),
        1 => dir("d/x"),
        _ => symlink("d/x", "y"),
    };
    vec![
        Shape::new("one name again and again", APPLIED_AUDITED, move |n| numbered(n, again)),
        Shape::new("one file again and again", SHARED, |n| numbered(n, |_| file("d/x").data("x"))),
        Shape::new("one directory again and again", APPLIED_AUDITED, |n| {
            numbered(n, |_| dir("d/x"))
        }),
        Shape::new("one directory with content again and again", APPLIED_AUDITED, |n| {
            in_turn(n, |i| [dir("d/x"), file(format!("d/x/{i}")), file("d/x")])
        }),
        Shape::new("files over lower files", APPLIED_AUDITED, |n| {
            numbered(n, |i| file(format!("d/{i}")))
        })
        .lower(|n| numbered(n, |i| file(format!("d/{i}")))),
        Shape::new("files over lower directories", APPLIED, |n| {
            numbered(n, |i| file(format!("d/{i}")))
        })
        .lower(|n| numbered(n, |i| file(format!("d/{i}/f"))))
        .from(1_000),
    ]
}

fn xattrs() -> Vec<Shape> {
    let with = |entry: Entry, count: usize, name: &str| {
        (0..count).fold(entry, |entry, i| entry.xattr(format!("{name}{i}"), "v"))
    };
    vec![
        Shape::new("xattrs", READ, move |n| {
            numbered(n, |i| with(file(format!("{i}")), 5, "user."))
        })
        .from(500),
        Shape::new("xattrs that are dropped", READ, move |n| {
            numbered(n / 100, |i| with(file(format!("{i}")), 100, "trusted."))
        }),
        Shape::new("xattrs of namespaces that nobody has", READ, |n| {
            numbered(n, |i| file(format!("{i}")).xattr(format!("n{i}.x"), "v"))
        }),
        Shape::new("xattrs of a directory described again and again", READ, move |n| {
            numbered(n, |_| with(dir("d"), 5, "user."))
        })
        .from(500),
        // Some files, and as many xattrs on each: 1,024 are the most.
        Shape::new("xattrs of one file", READ, move |n| {
            numbered(200, |i| with(file(format!("{i}")), n, "trusted."))
        })
        .from(256)
        .largest(1_024),
    ]
}

fn headers() -> Vec<Shape> {
    let record = |i: usize| (format!("vendor.{i}"), "v");
    vec![
        Shape::new("records", READ, move |n| {
            let with =
                |i| (0..100).fold(file(format!("{i}")), |it, at| it.record(record(at).0, "v"));
            numbered(n / 100, with)
        })
        .from(80_000)
        .largest(800_000),
        // Some entries; all records of one have a MiB.
        Shape::new("records of one entry", READ, move |n| {
            let records: Vec<_> = (0..n).map(record).collect();
            let header = extended(b'x', &pax(&records));
            numbered(20, |i| file(format!("{i}")).after(&header))
        })
        .largest(32_000),
        Shape::new("global headers", READ, move |n| {
            let header = |i| extended(b'g', &pax(&[record(i), ("mtime".to_owned(), "5")]));
            numbered(n, |i| file(format!("{i}")).after(header(i)))
        }),
        Shape::new("long names of GNU", READ, |n| {
            numbered(n, |i| symlink(format!("{}{i}", "n".repeat(150)), "t".repeat(1_000)).gnu())
        }),
        Shape::new("sparse files", READ, |n| {
            let map: Vec<_> = (0..20).map(|at| (at * 8_192, 1)).collect();
            let sparse = |i| file(format!("{i}")).data([b'x'; 20]);
            numbered(n / 20, |i| sparse(i).sparse(SparseForm::Pax10, &map, 1 << 20))
        })
        .from(16_000),
        sparse_file("a sparse file of GNU", SparseForm::Gnu),
        sparse_file("a sparse file of PAX 0.0", SparseForm::Pax00),
        sparse_file("a sparse file of PAX 0.1", SparseForm::Pax01),
        sparse_file("a sparse file of PAX 1.0", SparseForm::Pax10),
    ]
}

/// Some files, each with as many ranges: their records may have a MiB.
fn sparse_file(name: &str, form: SparseForm) -> Shape {
    Shape::new(name, READ, move |n| {
        let map: Vec<_> = (0..n as u64).map(|at| (at * 8_192, 1)).collect();
        let sparse = file("f").data(vec![b'x'; n]).sparse(form, &map, n as u64 * 8_192);
        vec![sparse; 20]
    })
    .from(2_000)
    .largest(16_000)
}

fn streams() -> Vec<Shape> {
    let one = |_| vec![file("f")];
    let shape =
        |name, compress| Shape::new(name, DECOMPRESSED, one).compress(compress).largest(256_000);
    vec![
        shape("empty gzip members", |it, n| [gzip(&it), gzip(b"").repeat(n)].concat()),
        shape("empty zstd frames", |it, n| [zstd(&it), zstd(b"").repeat(n)].concat()),
        shape("skippable frames", |it, n| {
            let frame = [&b"\x50\x2a\x4d\x18"[..], &4u32.to_le_bytes(), b"skip"].concat();
            [frame.repeat(n), zstd(&it)].concat()
        })
        .from(16_000),
        shape("small gzip members", |it, n| in_pieces(&it, n, gzip)),
        shape("small zstd frames", |it, n| in_pieces(&it, n, zstd)),
    ]
}

/// The only entry of an archive so often that there are `n` pieces of it.
fn in_pieces(archive: &[u8], n: usize, compress: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (entry, end) = archive.split_at(512);
    let pieces: Vec<u8> = entry.chunks(64).flat_map(compress).collect();
    [pieces.repeat(n / 8), compress(end)].concat()
}
