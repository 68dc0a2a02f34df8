// SPDX-License-Identifier: Apache-2.0
//! Stacks of layers in every mode: the same verdict and the same merged tree, nothing touched
//! outside, a scan that says the same, and an audit that finds nothing.
#![no_main]

use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use ocilayer::{
    AuditLayer, AuditObserver, AuditOptions, Damage, Errno, ErrorKind, Mode, Source, audit,
};
use ocilayer_fuzz::common::runner::{Outcome, Setting, Way, apply_blobs};
use ocilayer_fuzz::common::seccomp::Openat2;
use ocilayer_fuzz::common::stack::{compare, describe, verdict};
use ocilayer_fuzz::common::tree::Kind;
use ocilayer_fuzz::layers::Recipe;
use ocilayer_fuzz::{guard, records};

/// Entries that every mode refuses are taken out, and the rest is looked at; so often.
const REFUSALS: usize = 4;

fuzz_target!(
    init: {
        guard::keep_panics();
        guard::needs_overlay();
    },
    |recipe: Recipe| guard::holds(recipe, Recipe::smaller, check)
);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    records::mutate(data, size, max_size, seed)
});

fn check(recipe: &Recipe) -> Result<(), String> {
    let mut recipe = recipe.clone();
    for _ in 0..=REFUSALS {
        match same_everywhere(&recipe)? {
            Some((layer, entry)) => drop(recipe.stack.0[layer].remove(entry)),
            None => return blind(&recipe),
        };
    }
    Ok(())
}

/// The layer and entry that every mode refuses, or none when all applied and agree.
fn same_everywhere(recipe: &Recipe) -> Result<Option<(usize, usize)>, String> {
    let expected = apply(recipe, Way::Directory, 1)?;
    let ways = [Way::Overlay, Way::Userxattr, Way::Directory];
    for (way, threads) in ways.into_iter().zip(recipe.threads) {
        let got = apply(recipe, way, threads)?;
        if place(&got) != place(&expected) {
            let [left, right] = [&expected, &got].map(describe);
            return Err(format!("directory: {left}\n{}: {right}", got.setting));
        }
        if expected.failure.is_none() {
            compare(&expected, &got).map_err(|text| format!("{}: {text}", got.setting))?;
        }
        if way.overlay() {
            audited(&got)?;
        }
    }
    let Some((layer, error)) = &expected.failure else { return Ok(None) };
    let place = error.place().ok_or(format!("no entry named: {error}"))?;
    Ok(Some((*layer, place.entry as usize)))
}

/// Who does not know the parents makes other trees; that the threads make no difference holds.
fn blind(recipe: &Recipe) -> Result<(), String> {
    let one = apply(recipe, Way::OverlayBlind, 1)?;
    for way in [Way::OverlayBlind, Way::UserxattrBlind] {
        let other = apply(recipe, way, recipe.threads[0])?;
        if place(&one) != place(&other) {
            return Err(format!("blind: {}; {}", describe(&one), describe(&other)));
        }
        if one.failure.is_none() {
            compare(&one, &other).map_err(|text| format!("{}: {text}", other.setting))?;
        }
    }
    Ok(())
}

fn place(outcome: &Outcome) -> (Option<usize>, Option<u64>) {
    let entry = outcome.failure.as_ref().and_then(|(_, error)| error.place());
    (verdict(outcome), entry.map(|place| place.entry))
}

/// Holds each unpack against a scan as well; the runner does that.
fn apply(recipe: &Recipe, way: Way, threads: usize) -> Result<Outcome, String> {
    let openat2 = [Openat2::Works, Openat2::Enosys, Openat2::Eperm][usize::from(recipe.openat2)];
    let setting = Setting { way, threads, openat2 };
    let blob = |layer: usize, archive| recipe.encodings[layer].blob(archive);
    let mut outcome = apply_blobs(&recipe.stack.0, setting, &|_| {}, &blob);
    without_base(&mut outcome);
    let damage = outcome.damage();
    if !damage.is_empty() {
        return Err(format!("{setting} changed what is not its own: {}", damage.join("\n")));
    }
    if let Some((_, error)) = &outcome.failure {
        guard::no_panic(error)?;
    }
    Ok(outcome)
}

/// Names and targets that lead to the canary have the scene's own random name in them.
fn without_base(outcome: &mut Outcome) {
    let base = outcome.scene.base().file_name().expect("a name").as_bytes().to_vec();
    let plain = |bytes: &[u8]| {
        let at = bytes.windows(base.len()).position(|window| window == base);
        at.map_or(bytes.to_vec(), |at| [&bytes[..at], b"BASE", &bytes[at + base.len()..]].concat())
    };
    let nodes = std::mem::take(&mut outcome.tree.0).into_iter();
    outcome.tree.0 = nodes
        .map(|(path, mut node)| {
            if let Kind::Symlink(target) = &mut node.kind {
                *target = plain(target);
            }
            node.linked = node.linked.as_deref().map(plain);
            (plain(&path), node)
        })
        .collect();
}

/// Nothing is wrong with what was unpacked just now.
fn audited(outcome: &Outcome) -> Result<(), String> {
    let layers = outcome.blobs.iter().enumerate();
    let layers = layers
        .map(|(layer, blob)| AuditLayer::new(Source::memory(blob), outcome.scene.root(layer)));
    let userxattr = outcome.setting.way.mode() == Mode::OverlayUserxattr;
    let options = AuditOptions::default().userxattr(userxattr).threads(outcome.setting.threads);
    let mut found = Found::default();
    match audit(layers.collect(), &options, &mut found) {
        Ok(_) if found.0.is_empty() => Ok(()),
        Ok(_) => Err(format!("{}: audit finds {:#?}", outcome.setting, found.0)),
        Err(error) if error.kind() == ErrorKind::Panic => Err(format!("audit: {error}")),
        Err(error) => Err(format!("{}: audit fails: {error}", outcome.setting)),
    }
}

#[derive(Default)]
struct Found(Vec<Damage>);

impl AuditObserver for Found {
    fn damage(&mut self, damage: &Damage) -> Result<(), Errno> {
        self.0.push(damage.clone());
        Ok(())
    }
}
