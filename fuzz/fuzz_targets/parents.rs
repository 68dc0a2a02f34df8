// SPDX-License-Identifier: Apache-2.0
//! A layer on lower directories that no layer made: no panic, nothing touched outside or below, no
//! descriptor kept. Where the kernel's view of the same directories can be had, the tree is the
//! one that directory mode makes in it.
#![no_main]

use std::os::fd::AsFd;
use std::path::PathBuf;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use ocilayer::{Error, Lowers, Mode, Options, Report, Source, unpack};
use ocilayer_fuzz::common::archive::archive;
use ocilayer_fuzz::common::overlay::Overlay;
use ocilayer_fuzz::common::runner::Scene;
use ocilayer_fuzz::common::tree::{Private, Tree};
use ocilayer_fuzz::lower::{LOWERS, Recipe};
use ocilayer_fuzz::{guard, records};

/// Roots of the scene behind those of the lower directories.
const UPPER: usize = LOWERS;
const USER_UPPER: usize = LOWERS + 1;
const PLAIN: usize = LOWERS + 2;
const MOUNTED: usize = LOWERS + 3;

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
    let scene = Scene::new();
    let canary = scene.canary();
    let lowers: Vec<PathBuf> = (0..recipe.lowers).rev().map(|lower| scene.root(lower)).collect();
    for lower in 0..recipe.lowers {
        recipe.make(&scene.root(lower), Some(lower), &canary);
    }
    recipe.make(&scene.root(PLAIN), None, &canary);
    let before: Vec<Tree> = lowers.iter().map(|lower| Tree::of(lower)).collect();
    let blob = archive(&scene.aim(&recipe.layer.0[0]));
    let into = |root: PathBuf, mode: Mode| -> Result<Result<Report, Error>, String> {
        let mut options = Options::default().mode(mode).threads(recipe.threads);
        if mode != Mode::Directory {
            options = options.lowers(Lowers::Known(lowers.clone()));
        }
        let result = unpack(Source::memory(&blob), &root, &options);
        if let Err(error) = &result {
            guard::no_panic(error)?;
        }
        let mut damage = scene.damage();
        for (lower, before) in lowers.iter().zip(&before) {
            damage.extend(before.differences(&Tree::of(lower), "lower before", "lower after"));
        }
        match damage.is_empty() {
            true => Ok(result),
            false => Err(format!("{mode:?} changed: {}", damage.join("\n"))),
        }
    };
    let overlay = into(scene.root(UPPER), Mode::Overlay)?;
    into(scene.root(USER_UPPER), Mode::OverlayUserxattr)?.ok();
    into(scene.root(PLAIN), Mode::Directory)?.ok();
    if recipe.has_metacopies() {
        return Ok(());
    }
    let base = scene.root(MOUNTED);
    let Some(mount) = writable(&base, &lowers) else { return Ok(()) };
    let directory = into(mount.path(), Mode::Directory)?;
    if let (Err(one), Ok(_)) | (Ok(_), Err(one)) = (&overlay, &directory) {
        let other = if overlay.is_ok() { "in the mount" } else { "in overlay mode" };
        return Err(format!("fails only {other}: {one}"));
    }
    if overlay.is_err() {
        return Ok(());
    }
    let layers = [vec![scene.root(UPPER)], lowers.clone()].concat();
    let merged = Overlay::mount(&layers, false).map_err(|errno| format!("mount: {errno}"))?;
    let [left, right] = [&merged, &mount].map(tree);
    let differences = left.differences(&right, "overlay mode", "directory mode in the mount");
    match differences.is_empty() {
        true => Ok(()),
        false => Err(differences.join("\n")),
    }
}

/// What the kernel makes of the lower directories, with an upper one of its own.
fn writable(base: &std::path::Path, lowers: &[PathBuf]) -> Option<Overlay> {
    for name in ["upper", "work"] {
        std::fs::create_dir(base.join(name)).expect("mkdir");
    }
    Overlay::over(lowers, base, "").ok()
}

/// Without hardlinks: those of lower files come apart when one of them changes.
fn tree(mount: &Overlay) -> Tree {
    let mut tree = Tree::of_fd(mount.as_fd(), Private::Hide, &[]).without_ghosts();
    tree.0.values_mut().for_each(|node| node.linked = None);
    // The mount's root has the attributes of an upper directory that nothing was copied to.
    tree.0.remove(&b""[..]);
    tree
}
