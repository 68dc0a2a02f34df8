// SPDX-License-Identifier: Apache-2.0
//! The command line as text. What it means is decided by the module of each subcommand.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use glob::Pattern;
use ocilayer::image::Platform;
use ocilayer::{Digest, IdRange, MAX_THREADS};

use crate::values;

/// With what decompresses gzip, and the commit if it is known.
const VERSION: &str = {
    match ocilayer::GZIP_BACKEND.as_bytes() {
        b"isa-l" => concat!(env!("CARGO_PKG_VERSION"), env!("OCILAYER_COMMIT"), ", gzip by isa-l"),
        _ => concat!(env!("CARGO_PKG_VERSION"), env!("OCILAYER_COMMIT"), ", gzip by zlib-rs"),
    }
};

const EXIT_STATUS: &str = "\
Exit status:
  0  done; for `check`: not affected
  1  failed; for `check`: affected; for `scan`: unpack would refuse something; for `audit` and
     `verify`: damage
  2  the command line makes no sense
  3  for `check`: this machine could not tell; for `audit`: suspects only

Examples:
  A root file system from an image's layers, bottom first:
    mkdir root
    ocilayer unpack base.tar.gz root
    ocilayer unpack app.tar.zst root

  The same as overlay layers, each in a directory of its own:
    ocilayer unpack --mode overlay --lower '' base.tar.gz 1
    ocilayer unpack --mode overlay --lower 1 app.tar.zst 2
    mount -t overlay overlay -o lowerdir=2:1 /mnt

  Is this kernel safe for overlay layers with opaque directories?
    ocilayer check /var/lib/containerd";

const UNPACK_NOTES: &str = "\
ROOT is changed as the layer is read, so after a failure it holds a part of the layer: unpack into
a new directory, and use it once the exit status is 0. With --digest or --diff-id that also means
that the content was the expected one. An interrupt, SIGTERM or a hangup ends the unpack in order,
with exit status 1; a second one ends it at once.

Examples:
  ocilayer unpack --digest sha256:4f53… layer.tar.gz root
  curl -s https://example.org/layer | ocilayer unpack --diff-id sha256:87d1… - root
  ocilayer unpack --mode overlay --lower /layers/2:/layers/1 layer.tar.zst /layers/3
  ocilayer unpack --map-uid 0:100000:65536 --map-gid 0:100000:65536 layer.tar root
  ocilayer unpack --json layer.tar root | jq .skipped";

const SCAN_NOTES: &str = "\
Exit status:
  0  unpack would take every layer
  1  unpack would refuse one, or one could not be read
  2  the command line makes no sense

What the lower layers, the file system and privileges decide is not known to a scan: that unpack
would take a layer does not promise that it succeeds.

Examples:
  ocilayer scan layer.tar.gz
  ocilayer scan image.oci.tar
  ocilayer scan --json layer.tar.gz | jq 'select(.finding == \"setuid\").path'
  curl -s https://example.org/layer | ocilayer scan -";

/// Applies OCI image layers to directories: fast, and safe against hostile layers.
#[derive(Debug, Parser)]
#[command(name = "ocilayer", version = VERSION, after_help = EXIT_STATUS, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Unpack(Box<Unpack>),
    Check(Check),
    Scan(Box<Scan>),
    Audit(Box<Audit>),
    Verify(Box<Verify>),
    Images(Images),
}

/// Lists the images that an OCI layout or an archive has.
#[derive(Debug, Args)]
pub struct Images {
    /// Directories with an OCI image layout, and uncompressed archives of such or by `docker save`.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,

    /// Prints a line of JSON for each image, with its layers.
    #[arg(long)]
    pub json: bool,
}

/// Applies a layer, or all layers of an image, to a directory.
///
/// The layer may be compressed with gzip or zstd or not at all; its content tells, not its name. An
/// image is a directory with an OCI image layout, or an uncompressed archive of one or by `docker save`.
#[derive(Debug, Args)]
#[command(after_long_help = UNPACK_NOTES)]
pub struct Unpack {
    /// The layer: a file, or - for standard input; or an image: its path, with @DIGEST or :NAME behind it
    /// where it has several.
    pub layer: OsString,

    /// The directory to apply it to; it must exist, and for an image be empty.
    #[arg(required_unless_present = "layers", conflicts_with = "layers")]
    pub root: Option<PathBuf>,

    /// Unpacks an image for overlayfs: each layer that STORE lacks becomes a directory there, named by
    /// its chain ID.
    ///
    /// A layer is put there when all of it was verified. Any number of processes may use one store, and
    /// one that was killed leaves nothing that others take for a layer. The mode is overlay or
    /// overlay-userxattr.
    #[arg(long, value_name = "STORE")]
    pub layers: Option<PathBuf>,

    /// Which of an image's platforms: OS/ARCHITECTURE[/VARIANT]; this machine's where there are several.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,

    /// What whiteouts become.
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub mode: Mode,

    /// The parent layers' directories in overlay modes, topmost first.
    ///
    /// As in overlay's lowerdir, : separates directories and \: is a colon in a name. An empty
    /// value says that there are none. Without this option the parents are not known: every
    /// whiteout is written, and parent directories that the layer does not describe belong to
    /// root with mode 0755.
    #[arg(long, value_name = "DIR[:DIR...]", allow_hyphen_values = true)]
    pub lower: Vec<OsString>,

    /// The upper directory of the overlay mount that ROOT is, in directory mode.
    ///
    /// On a kernel that `ocilayer check` calls affected, the marks of opaque directories that it
    /// copies up are removed there and reported.
    #[arg(long, value_name = "DIR")]
    pub upper: Option<PathBuf>,

    /// The digest that the layer's bytes must have, compressed or not: sha256:HEX or sha512:HEX.
    #[arg(long, value_name = "DIGEST")]
    pub digest: Option<Digest>,

    /// The digest that the uncompressed archive must have.
    #[arg(long, value_name = "DIGEST")]
    pub diff_id: Option<Digest>,

    #[arg(long, value_name = "N", default_value_t = 0, value_parser = values::threads)]
    #[arg(help = format!("Worker threads, at most {MAX_THREADS}; 0 chooses by the number of CPUs"))]
    pub threads: usize,

    /// Leaves out what has this name, and all below it; * ? [..] and ** are as in a shell.
    ///
    /// Names are those of the layer's entries without a leading / or ./, those of whiteouts included.
    /// May be repeated.
    #[arg(long, value_name = "PATTERN", value_parser = values::pattern)]
    pub exclude: Vec<Pattern>,

    /// Does not compute the digest of the compressed bytes, for who has checked it already.
    #[arg(long, conflicts_with = "digest")]
    pub no_blob_digest: bool,

    /// What is on disk at the end.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub sync: Sync,

    /// Takes LAYER for a layer, though it looks like an image.
    #[arg(long = "layer")]
    pub as_layer: bool,

    #[command(flatten)]
    pub ownership: Ownership,

    /// Prints the report as one JSON object on standard output, and nothing else there.
    ///
    /// After a failure the object has two fields: `error`, and `report` with what was done.
    #[arg(long)]
    pub json: bool,

    /// Prints neither progress nor a summary.
    #[arg(long, short, conflicts_with_all = ["json", "verbose"])]
    pub quiet: bool,

    /// Prints each thing that is left out, when it is, on standard error.
    #[arg(long, short)]
    pub verbose: bool,

    #[command(flatten)]
    pub limits: Limits,
}

/// Asks this kernel whether its overlayfs copies the marks of opaque directories upwards.
///
/// Where it does, a layer that was applied through an overlay mount of its parents may hide files
/// of all layers below. The check mounts a small overlay in a new directory and looks, and leaves
/// nothing behind; it never guesses from a version number.
#[derive(Debug, Args)]
pub struct Check {
    /// Where to look: the directory that holds the layers, since its file system matters.
    ///
    /// Without it a temporary directory is taken, which tells about the kernel alone.
    pub dir: Option<PathBuf>,

    /// Prints the answer as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Tells what is in layers, above all what `unpack` would refuse, without writing anything.
///
/// A directory with an OCI image layout, or an uncompressed archive of one, stands for all of its
/// layers, each of which is held against its digests.
#[derive(Debug, Args)]
#[command(after_long_help = SCAN_NOTES)]
pub struct Scan {
    /// Layers and images: files, directories, or - for a layer on standard input.
    #[arg(required = true, value_name = "LAYER")]
    pub layers: Vec<OsString>,

    /// The mode of `unpack` to answer for.
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub mode: Mode,

    /// Nothing lies below: a hardlink to what the layer lacks is refused.
    ///
    /// An image's bottom layers are known, and need no option.
    #[arg(long)]
    pub bottom: bool,

    /// Takes every file for a layer, also one that looks like an image's archive.
    #[arg(long)]
    pub layer: bool,

    #[arg(long, value_name = "N", default_value_t = 0, value_parser = values::threads)]
    #[arg(help = format!("Worker threads, at most {MAX_THREADS}; 0 chooses by the number of CPUs"))]
    pub threads: usize,

    /// Prints a line of JSON for each finding, and one with the report of each layer.
    #[arg(long)]
    pub json: bool,

    /// Prints no single findings but refusals, only what was found of each layer.
    #[arg(long)]
    pub summary: bool,

    #[command(flatten)]
    pub limits: Limits,
}

const AUDIT_NOTES: &str = "\
With --layer the answer is exact: each directory is compared with the layer that it was unpacked
from, and what a wrong mark hides is listed by name. Without the layers only suspicion can come: a
mark that repeats one of a lower layer may be the kernel's doing, or an image's. --repair removes
wrong marks after all was listed, never a file. --restore writes again, from the layers, whatever their
directories do not have as the layers have it; what a layer has no name for stays. Both ask for --live
where a mount is using a directory.

Exit status: 0 clean, 1 damage found or failed, 2 usage, 3 suspects only. The same with --repair and
--restore; a second run then finds nothing.

Examples:
  ocilayer audit --layer base.tar.gz=layers/1 --layer app.tar.zst=layers/2
  ocilayer audit --restore --image alpine.tar --store /var/lib/layers
  ocilayer audit --repair --layer base.tar.gz=layers/1 --layer app.tar.zst=layers/2
  ocilayer audit layers/2:layers/1
  ocilayer audit --mounts --json";

/// Finds what the overlayfs defect and other accidents did to unpacked layers.
#[derive(Debug, Args)]
#[command(after_long_help = AUDIT_NOTES)]
#[command(group = clap::ArgGroup::new("what").required(true))]
#[command(group = clap::ArgGroup::new("changes"))]
pub struct Audit {
    /// The layers' directories, topmost first as in overlay's lowerdir: looks for suspects only.
    #[arg(value_name = "DIR[:DIR…]", group = "what")]
    pub directories: Option<OsString>,

    /// A layer and the directory that it was unpacked to. Once for each layer, bottom first.
    #[arg(long = "layer", value_name = "BLOB=DIR", group = "what")]
    pub layers: Vec<OsString>,

    /// All layers of an image, which --store has: PATH, PATH:NAME or PATH@DIGEST.
    #[arg(long, value_name = "IMAGE", group = "what", requires = "store")]
    pub image: Option<OsString>,

    /// The store that `unpack --layers` has filled.
    #[arg(long, value_name = "STORE", requires = "image")]
    pub store: Option<PathBuf>,

    /// Every overlay mount of this machine: looks for suspects only.
    #[arg(long, group = "what")]
    pub mounts: bool,

    /// Removes the marks that were listed as wrong, or as suspect.
    #[arg(long, group = "changes")]
    pub repair: bool,

    /// Writes again, from the layers, what differs and what is missing.
    #[arg(long, group = "changes", conflicts_with_all = ["directories", "mounts"])]
    pub restore: bool,

    /// Changes also what a mount is using. The mount shows it when it is made anew.
    #[arg(long, requires = "changes")]
    pub live: bool,

    /// The marks are user.overlay.*, as for mounts with the option userxattr.
    #[arg(long, conflicts_with = "mounts")]
    pub userxattr: bool,

    #[arg(long, value_name = "N", default_value_t = 0, value_parser = values::threads)]
    #[arg(help = format!("Worker threads, at most {MAX_THREADS}; 0 chooses by the number of CPUs"))]
    pub threads: usize,

    #[command(flatten)]
    pub ownership: Ownership,

    /// Prints a line of JSON for each finding, and one with the report.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub limits: Limits,
}

const VERIFY_NOTES: &str = "\
As many layers at a time as there are threads; a layer that several images share is looked at once. Without
--content the size of a file is enough, unless it has holes: that finds what a power cut leaves behind, and
not bytes that somebody changed. `ocilayer audit --restore` mends what was found.

Exit status: 0 clean, 1 damage found or failed, 2 usage.

Examples:
  ocilayer verify --image alpine.tar --image debian.tar --store /var/lib/layers
  ocilayer verify --content --layer base.tar.gz=layers/1 --layer app.tar.zst=layers/2";

/// Finds files of unpacked layers that were cut, zeroed or lost.
#[derive(Debug, Args)]
#[command(after_long_help = VERIFY_NOTES)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Verify {
    /// A layer and the directory that it was unpacked to. Once for each layer, bottom first.
    #[arg(long = "layer", value_name = "BLOB=DIR", group = "what")]
    pub layers: Vec<OsString>,

    /// All layers of an image, which --store has: PATH, PATH:NAME or PATH@DIGEST. May be repeated.
    #[arg(long = "image", value_name = "IMAGE", group = "what", requires = "store")]
    pub images: Vec<OsString>,

    /// The store that `unpack --layers` has filled.
    #[arg(long, value_name = "STORE", requires = "images")]
    pub store: Option<PathBuf>,

    /// Compares the content of every file.
    #[arg(long)]
    pub content: bool,

    /// The marks are user.overlay.*, as for mounts with the option userxattr.
    #[arg(long)]
    pub userxattr: bool,

    #[arg(long, value_name = "N", default_value_t = 0, value_parser = values::threads)]
    #[arg(help = format!("Worker threads, at most {MAX_THREADS}; 0 chooses by the number of CPUs"))]
    pub threads: usize,

    #[command(flatten)]
    pub ownership: Ownership,

    /// Shows no progress.
    #[arg(long, short)]
    pub quiet: bool,

    /// Prints a line of JSON for each finding, and one with the report.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub limits: Limits,
}

/// What unpack does with owners and devices; audit expects what it left.
#[derive(Debug, Args)]
pub struct Ownership {
    /// What becomes of the owners in the layer.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    #[arg(conflicts_with_all = ["map_uid", "map_gid", "map_user"])]
    pub owners: Owners,

    /// Shifts user ids: COUNT ids from CONTAINER on become those from HOST on.
    ///
    /// May be repeated. A layer with an id outside of all ranges is refused.
    #[arg(long, value_name = "CONTAINER:HOST:COUNT", requires = "map_gid")]
    #[arg(value_parser = values::id_range)]
    pub map_uid: Vec<IdRange>,

    /// Shifts group ids.
    #[arg(long, value_name = "CONTAINER:HOST:COUNT", requires = "map_uid")]
    #[arg(value_parser = values::id_range)]
    pub map_gid: Vec<IdRange>,

    /// Shifts ids from 0 on to those that /etc/subuid and /etc/subgid lend to USER.
    #[arg(long, value_name = "USER", conflicts_with_all = ["map_uid", "map_gid"])]
    pub map_user: Option<String>,

    /// What becomes of block and character devices.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub devices: Devices,
}

/// Refusals of layers that want too much. The defaults are above every real image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Entries in the layer [default: 10000000].
    #[arg(long, value_name = "N")]
    pub max_entries: Option<u64>,

    /// Uncompressed bytes; K, M, G and T are powers of 1024 [default: 1T].
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub max_bytes: Option<u64>,

    /// Uncompressed bytes per compressed byte, in layers over 1 GiB [default: no limit].
    #[arg(long, value_name = "N")]
    pub max_ratio: Option<u64>,

    /// Bytes in a name or a link's target [default: 4096].
    #[arg(long, value_name = "N")]
    pub max_path_bytes: Option<usize>,

    /// Components in a name [default: 512].
    #[arg(long, value_name = "N")]
    pub max_path_depth: Option<usize>,

    /// Bytes of xattrs in one entry [default: 1M].
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub max_xattr_bytes: Option<u64>,

    /// Memory for what is remembered of the layer, its directories above all [default: 1G].
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub max_memory: Option<u64>,

    /// Memory that a zstd stream may ask for, as a power of two: 10 to 31 [default: 29].
    #[arg(long, value_name = "LOG2", value_parser = clap::value_parser!(u32).range(10..=31))]
    pub max_zstd_window: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// They delete from ROOT: a plain root file system, or a mount of the parents.
    #[default]
    Directory,
    /// Marks for overlayfs, whose upper directory ROOT is: devices 0:0, trusted.overlay.opaque.
    Overlay,
    /// The same with user.overlay.opaque, for mounts with the option userxattr.
    OverlayUserxattr,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Sync {
    /// What the kernel has written by then.
    #[default]
    None,
    /// All that the layer made, and nothing of others.
    Files,
    /// All of ROOT's file system, by syncfs.
    Filesystem,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Owners {
    /// They are set.
    #[default]
    Keep,
    /// Everything belongs to whoever runs this.
    Ignore,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Devices {
    /// Made; in a user namespace, which may not, left out and reported.
    #[default]
    Create,
    /// Left out and reported.
    Skip,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;
    use clap_complete::{Shell, generate};

    use super::*;

    /// `make completions` runs this test with the variable set, which writes them first.
    #[test]
    fn the_checked_in_completions_are_the_generated_ones() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../completions");
        for (shell, file) in [
            (Shell::Bash, "ocilayer.bash"),
            (Shell::Zsh, "_ocilayer"),
            (Shell::Fish, "ocilayer.fish"),
        ] {
            let mut text = Vec::new();
            generate(shell, &mut Arguments::command(), "ocilayer", &mut text);
            let path = directory.join(file);
            if std::env::var_os("OCILAYER_WRITE_COMPLETIONS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let is_same = fs::read(&path).is_ok_and(|there| there == text);
            assert!(is_same, "completions/{file}: `make completions` writes it");
        }
    }
}
