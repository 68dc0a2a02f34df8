// SPDX-License-Identifier: Apache-2.0
//! Unpacked layers against the layers they were unpacked from: what the overlayfs defect and other
//! accidents did to them.
//!
//! ```text
//! layer -> expected (an index of its names) -> compare (the directory on disk) -> damage -> repair
//!               |                                                                      or restore
//!               +-> spool (content that the directory does not have) ----------------------^
//! ```

mod compare;
mod damage;
mod expected;
mod inode;
mod layer;
mod mounts;
mod observer;
mod options;
mod repair;
mod report;
mod restore;
mod sender;
mod spool;
mod stack;
mod suspects;
mod verify;

use std::path::PathBuf;
use std::time::Instant;

use crate::error::{Cause, Result};
use crate::options::OptionsError;

pub use damage::{Damage, DamageKind};
use layer::{Found, audit_layer};
pub use mounts::{OverlayMount, overlay_mounts};
pub use observer::AuditObserver;
pub use options::{AuditLayer, AuditOptions, Compare};
pub use report::AuditReport;
use sender::DamageSender;
use stack::Stack;
pub use verify::verify;

/// Compares unpacked layers, bottom first, with the layers themselves.
///
/// Tells of each directory that is opaque and should not be, with all that it hides; of those that
/// should be and are not; of whiteouts that are missing or too many; and of entries that are
/// missing, too many, or other ones. A mark that hides nothing is not told of, nor is what overlayfs
/// keeps for itself in a directory. Holes in sparse files are not read.
///
/// Memory holds the names of one layer at a time, up to [`Limits::memory`](field@crate::Limits::memory), no
/// content, and the paths of wrong marks.
///
/// # Errors
///
/// Damage is no error. An [`Error`](crate::Error) says that a layer or directory could not be read, that unpack
/// would refuse the layer, that a callback failed, or that a repair was refused because a mount uses
/// a directory. What was restored until then stays so, and the next restore goes on from there.
pub fn audit(
    layers: Vec<AuditLayer<'_>>,
    options: &AuditOptions,
    observer: &mut dyn AuditObserver,
) -> Result<AuditReport> {
    let begin = Instant::now();
    let paths: Vec<PathBuf> = layers.iter().map(|layer| layer.directory.clone()).collect();
    let mut found = Found::default();
    let mut stack = Stack::open(&paths, options.mode())?;
    refuse_live(&stack, options)?;
    for (level, layer) in layers.into_iter().enumerate() {
        stack = audit_layer(layer, stack, level, options, observer, &mut found)?;
        found.report.layers += 1;
    }
    found.finish(&mut stack, options, begin)
}

/// The same without the layers, of which only suspicion can come: marks that repeat one of a lower
/// layer. `directories` are topmost first, as in overlay's lowerdir. A repair removes them all.
///
/// # Errors
///
/// Suspicion is no error. An [`Error`](crate::Error) says that a directory could not be read, that
/// a callback failed, or that a repair was refused because a mount uses a directory.
pub fn audit_directories(
    directories: &[PathBuf],
    options: &AuditOptions,
    observer: &mut dyn AuditObserver,
) -> Result<AuditReport> {
    let begin = Instant::now();
    if options.restore {
        return Err(OptionsError::RestoreWithoutLayers.into());
    }
    let paths: Vec<PathBuf> = directories.iter().rev().cloned().collect();
    let mut found = Found::default();
    let mut stack = Stack::open(&paths, options.mode())?;
    refuse_live(&stack, options)?;
    let mut tell = |damage: Damage| observer.damage(&damage).map_err(Cause::Finding);
    let mut damages =
        DamageSender { tell: &mut tell, found: &mut found.report, wrong: &mut found.wrong };
    suspects::run(&mut stack, &mut damages)?;
    found.report.layers = paths.len() as u64;
    found.finish(&mut stack, options, begin)
}

fn refuse_live(stack: &Stack, options: &AuditOptions) -> Result<()> {
    match (options.repair || options.restore) && !options.repair_live {
        true => repair::refuse_live(stack),
        false => Ok(()),
    }
}
