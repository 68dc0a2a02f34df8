// SPDX-License-Identifier: Apache-2.0
//! Whiteouts and opaque directories: the first table of docs/layer-semantics.md.

mod common;

use common::archive::{Entry, file, layer, opaque};
use common::cases::{Case, LAYER, Refused, Tree, check, check_any_order, each_applied, orders};
use common::needs;
use common::runner::{BLIND, EVERY, KNOWING, KNOWING_OVERLAYS, Outcome, Way};
use common::tree::Kind;
use ocilayer::{ErrorKind, Options, SkipReason};

fn stack(layers: &[&str]) -> Vec<Vec<Entry>> {
    layers.iter().map(|text| layer(text)).collect()
}

#[test]
fn whiteouts_and_markers_hit_lower_layers_only_wherever_they_stand() {
    if !needs::overlay() {
        return;
    }
    check_any_order(
        EVERY,
        &[
            Case("file made again", &["x=1", "x=2 .wh.x"], Tree("x=2")),
            Case("file below", &["d/ d/x=1 d/y=1", "d/x=2 d/.wh.x"], Tree("d/ d/x=2 d/y=1")),
            Case("directory to file", &["d/ d/x=1", "d=2 .wh.d"], Tree("d=2")),
            Case("directory to link", &["d/ d/x=1", "d->e .wh.d"], Tree("d->e")),
            Case("file to FIFO", &["x=1", "x| .wh.x"], Tree("x|")),
            Case("marker", &["d/ d/old=1", "d/new=2 d/.wh..wh..opq"], Tree("d/ d/new=2")),
            Case(
                "marker and entry",
                &["d/ d/old=1", "d/ d/new=2 d/.wh..wh..opq"],
                Tree("d/ d/new=2"),
            ),
            Case(
                "marker and whiteout",
                &["d/ d/a=1 d/b=1", "d/.wh.a d/.wh..wh..opq d/b=2"],
                Tree("d/ d/b=2"),
            ),
            Case(
                "marker two levels deep",
                &["p/ p/d/ p/d/old=1 p/x=1", "p/d/new=2 p/d/.wh..wh..opq"],
                Tree("p/ p/x=1 p/d/ p/d/new=2"),
            ),
            Case(
                "from several lower layers",
                &["d/ d/a=1 d/c=1", "d/b=2", "d/.wh.a d/.wh.b d/a=3"],
                Tree("d/ d/a=3 d/c=1"),
            ),
            Case("siblings stay", &["d/ d/a=1 d/ab=1 da=1", "d/.wh.a"], Tree("d/ d/ab=1 da=1")),
        ],
    );
}

#[test]
fn implied_directories_of_this_layer_survive_a_whiteout_or_marker_above() {
    if !needs::overlay() {
        return;
    }
    check_any_order(
        EVERY,
        &[
            Case(
                "marker",
                &["d/ d/old=1 d/s/ d/s/old=1", "d/s/new=2 d/.wh..wh..opq"],
                Tree("d/ d/s/ d/s/new=2"),
            ),
            Case(
                "whiteout",
                &["a/ a/b/ a/b/c/ a/b/c/old=1 a/x=1", "a/b/c/new=2 a/.wh.b"],
                Tree("a/ a/x=1 a/b/ a/b/c/ a/b/c/new=2"),
            ),
            Case(
                "markers at two depths",
                &["a/ a/b/ a/b/old=1", "a/b/c/new=2 a/.wh..wh..opq a/b/.wh..wh..opq"],
                Tree("a/ a/b/ a/b/c/ a/b/c/new=2"),
            ),
            Case(
                "whiteouts at two depths",
                &["a/ a/b/ a/b/old=1", "a/b/new=2 .wh.a a/.wh.b"],
                Tree("a/ a/b/ a/b/new=2"),
            ),
            Case(
                "names that no parent has",
                &["x=1", "a/b/new=2 .wh.a"],
                Tree("x=1 a/ a/b/ a/b/new=2"),
            ),
        ],
    );
}

#[test]
fn directory_made_again_beside_its_whiteout_is_opaque() {
    if !needs::overlay() {
        return;
    }
    check_any_order(
        EVERY,
        &[
            Case("with a file", &["d/ d/old=1", ".wh.d d/ d/new=2"], Tree("d/ d/new=2")),
            Case("empty", &["d/ d/old=1 d/s/ d/s/old=1", ".wh.d d/"], Tree("d/")),
            Case(
                "implied",
                &["d/ d/old=1 d/s/ d/s/old=1", ".wh.d d/s/new=2"],
                Tree("d/ d/s/ d/s/new=2"),
            ),
            Case(
                "below",
                &["p/ p/d/ p/d/old=1", "p/.wh.d p/d/ p/d/new=2"],
                Tree("p/ p/d/ p/d/new=2"),
            ),
            Case("twice as deep", &["p/ p/d/ p/d/old=1", "p/.wh.d .wh.p p/d/"], Tree("p/ p/d/")),
            Case(
                "with its marker",
                &["d/ d/old=1", ".wh.d d/.wh..wh..opq d/new=2"],
                Tree("d/ d/new=2"),
            ),
            Case("over two layers", &["d/ d/a=1", "d/b=1", ".wh.d d/ d/c=3"], Tree("d/ d/c=3")),
        ],
    );
    check(
        EVERY,
        &[
            Case(
                "and added to above",
                &["d/ d/old=1", ".wh.d d/", "d/more=3"],
                Tree("d/ d/more=3"),
            ),
            Case(
                "and opaque twice",
                &["d/ d/old=1", ".wh.d d/ d/b=2", ".wh.d d/ d/c=3", "d/more=4"],
                Tree("d/ d/c=3 d/more=4"),
            ),
            Case(
                "through marker and entry above",
                &["d/ d/old=1", "d/.wh..wh..opq d/b=2", "d/ d/c=3"],
                Tree("d/ d/b=2 d/c=3"),
            ),
        ],
    );
}

#[test]
fn whiteouts_below_a_whiteout_are_no_error() {
    if !needs::overlay() {
        return;
    }
    let cases = [
        &["d/ d/x=1", ".wh.d d/.wh.x"],
        &["d/ d/x=1 d/s/ d/s/y=1", ".wh.d d/s/.wh.y d/.wh.s"],
        &["d/ d/x=1", ".wh.d d/.wh.nothing d/.wh.x"],
    ];
    for layers in cases {
        let [lower, upper] = layers.map(layer);
        for order in orders(&upper) {
            let stack = [lower.clone(), order];
            each_applied(KNOWING, &stack, |outcome| {
                assert_eq!(outcome.tree.list(), [""; 0]);
            });
            // Who doesn't know the parents may leave empty directories.
            each_applied(BLIND, &stack, |outcome| {
                let only_directories = |line: &String| line == "d/" || line == "d/s/";
                assert!(outcome.tree.list().iter().all(only_directories));
            });
        }
    }
}

#[test]
fn directory_that_only_whiteouts_imply_is_no_entry() {
    if !needs::overlay() {
        return;
    }
    check_any_order(
        KNOWING,
        &[
            Case("marker above", &["d/ d/s/ d/s/x=1", "d/s/.wh.x d/.wh..wh..opq"], Tree("d/")),
            Case(
                "whiteout two above",
                &["a/ a/b/ a/b/c/ a/b/c/x=1", ".wh.a a/b/c/.wh.x"],
                Tree(""),
            ),
            Case(
                "beside an entry",
                &["d/ d/s/ d/s/x=1 d/s/y=1", "d/s/.wh.x d/.wh..wh..opq d/new=2"],
                Tree("d/ d/new=2"),
            ),
        ],
    );
}

#[test]
fn marker_at_the_root_hides_everything_lower() {
    if !needs::overlay() {
        return;
    }
    check_any_order(
        KNOWING,
        &[
            Case("alone", &["a=1 d/ d/x=1 l->a p|", ".wh..wh..opq"], Tree("")),
            Case("in dot", &["a=1 d/ d/x=1", "./.wh..wh..opq"], Tree("")),
            Case("with a file", &["a=1 d/ d/x=1", ".wh..wh..opq b=2"], Tree("b=2")),
            Case("same file", &["a=1", ".wh..wh..opq a=2"], Tree("a=2")),
            Case("kept directory", &["a=1 d/ d/x=1", ".wh..wh..opq d/ d/y=2"], Tree("d/ d/y=2")),
            Case("implied", &["d/ d/s/ d/s/x=1", ".wh..wh..opq d/s/y=2"], Tree("d/ d/s/ d/s/y=2")),
            Case("directory to file", &["d/ d/x=1", ".wh..wh..opq d=2"], Tree("d=2")),
            Case("file to directory", &["d=1", ".wh..wh..opq d/ d/x=2"], Tree("d/ d/x=2")),
            Case("with whiteouts", &["a=1 b=1", ".wh..wh..opq .wh.a a=2"], Tree("a=2")),
            Case("two lower layers", &["a=1 d/ d/x=1", "b=2 d/y=2", ".wh..wh..opq d/"], Tree("d/")),
            Case("bottom layer", &[".wh..wh..opq a=1"], Tree("a=1")),
        ],
    );
    check(
        KNOWING,
        &[
            Case(
                "and added to above",
                &["a=1 d/ d/x=1", ".wh..wh..opq d/ b=2", "d/z=3 c=3"],
                Tree("b=2 c=3 d/ d/z=3"),
            ),
            Case("twice", &["a=1", ".wh..wh..opq b=2", ".wh..wh..opq c=3"], Tree("c=3")),
        ],
    );
}

#[test]
fn marker_at_the_root_without_known_parents_is_unsupported() {
    if !needs::overlay() {
        return;
    }
    check(
        BLIND,
        &[
            Case("upper", &["a=1", "b=2 .wh..wh..opq"], Refused(ErrorKind::Unsupported)),
            Case("alone", &["./.wh..wh..opq"], Refused(ErrorKind::Unsupported)),
        ],
    );
}

#[test]
fn whiteout_of_a_name_that_no_parent_has_leaves_nothing() {
    if !needs::overlay() {
        return;
    }
    let cases = [
        Case("root", &["a=1", ".wh.nothing"], Tree("a=1")),
        Case("bottom layer", &[".wh.nothing"], Tree("")),
        Case("bottom layer, below", &["d/ d/.wh.nothing"], Tree("d/")),
        Case("below", &["d/ d/x=1", "d/.wh.nothing"], Tree("d/ d/x=1")),
        Case("below a file", &["f=1", "f/.wh.x"], Tree("f=1")),
        Case("in missing directories", &["a=1", "p/q/.wh.nothing"], Tree("a=1")),
        Case("whited out before", &["x=1", ".wh.x", ".wh.x"], Tree("")),
        Case("below a whiteout", &["d/ d/x=1", ".wh.d", "d/.wh.x"], Tree("")),
        Case("below a marker", &["d/ d/x=1", "d/.wh..wh..opq", "d/.wh.x"], Tree("d/")),
        Case("replaced by a file", &["d/ d/x=1", "d=2", "d/.wh.x"], Tree("d=2")),
    ];
    check(KNOWING, &cases);
    for Case(what, layers, _) in &cases {
        each_applied(KNOWING, &stack(layers), |outcome| {
            let report = outcome.reports.last().expect("a report");
            assert_eq!(report.skipped.count(SkipReason::UnneededWhiteout), 1, "{what}");
            assert_eq!(report.whiteouts, 1, "{what}");
        });
        each_applied(KNOWING_OVERLAYS, &stack(layers), |outcome| {
            assert!(ghosts(outcome, layers.len() - 1).is_empty(), "{what}");
        });
    }
}

#[test]
fn whiteout_without_known_parents_is_always_written() {
    if !needs::overlay() {
        return;
    }
    for (layers, name) in
        [(&["a=1", ".wh.nothing"], "nothing"), (&["a=1", "d/.wh.nothing"], "d/nothing")]
    {
        each_applied(BLIND, &stack(layers), |outcome| {
            assert_eq!(ghosts(outcome, 1), [name]);
        });
    }
}

/// Whiteout devices in the upper directory of a layer.
fn ghosts(outcome: &Outcome, layer: usize) -> Vec<String> {
    let upper = outcome.upper(layer);
    let ghosts = upper.0.iter().filter(|(_, node)| node.kind == Kind::Ghost);
    ghosts.map(|(path, _)| path.escape_ascii().to_string()).collect()
}

#[test]
fn marker_in_a_missing_directory_makes_it() {
    if !needs::overlay() {
        return;
    }
    let cases = [
        Case("root", &["a=1", "d/.wh..wh..opq"], Tree("a=1 d/")),
        Case("deeper", &["a=1", "p/q/.wh..wh..opq"], Tree("a=1 p/ p/q/")),
        Case("bottom layer", &["d/.wh..wh..opq"], Tree("d/")),
        Case("instead of a file", &["d=1", "d/.wh..wh..opq"], Tree("d/")),
        Case("instead of a whiteout", &["d/ d/x=1", ".wh.d", "d/.wh..wh..opq"], Tree("d/")),
    ];
    check(EVERY, &cases);
    for Case(what, layers, _) in &cases {
        each_applied(EVERY, &stack(layers), |outcome| {
            let name = if *what == "deeper" { "p/q" } else { "d" };
            let made = outcome.tree.at(name);
            assert_eq!((made.mode, made.uid, made.gid), (0o755, 0, 0), "{what}");
        });
    }
}

#[test]
fn whiteouts_of_nothing_dot_and_dotdot_are_refused() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("nothing", &["a=1", ".wh."], LAYER),
            Case("dot", &["a=1", ".wh.."], LAYER),
            Case("dotdot", &["a=1", ".wh..."], LAYER),
            Case("nothing, below", &["d/ d/a=1", "d/.wh."], LAYER),
            Case("dot, below", &["d/ d/a=1", "d/.wh.."], LAYER),
            Case("dotdot, below", &["d/ d/a=1", "d/.wh..."], LAYER),
            Case("dotdot, in dot", &["a=1", "./.wh..."], LAYER),
            Case("bottom layer", &["d/.wh..."], LAYER),
        ],
    );
}

#[test]
fn names_that_only_look_like_dots_are_whiteouts() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("three dots", &["...=1 a=1", ".wh...."], Tree("a=1")),
            Case("hidden file", &[".a=1 a=1", ".wh..a"], Tree("a=1")),
            Case("no dot in front", &["wh.a=1 a=1", "wh.a=2"], Tree("a=1 wh.a=2")),
        ],
    );
}

#[test]
fn whiteout_through_a_symlinked_parent_removes_the_targets_child() {
    if !needs::overlay() {
        return;
    }
    check(
        KNOWING,
        &[
            Case("relative", &["r/ r/x=1 r/y=1 l->r", "l/.wh.x"], Tree("l->r r/ r/y=1")),
            Case("absolute", &["r/ r/x=1 l->/r", "l/.wh.x"], Tree("l->/r r/")),
            Case("clamped", &["r/ r/x=1 l->../../r", "l/.wh.x"], Tree("l->../../r r/")),
            Case(
                "chain",
                &["r/ r/x=1 m->r d/ d/l->../m", "d/l/.wh.x"],
                Tree("r/ m->r d/ d/l->../m"),
            ),
            Case("in different layers", &["r/ r/x=1", "l->r", "l/.wh.x"], Tree("l->r r/")),
            Case("in the middle", &["r/ r/s/ r/s/x=1 l->r", "l/s/.wh.x"], Tree("l->r r/ r/s/")),
            Case("marker", &["r/ r/x=1 l->r", "l/.wh..wh..opq l/new=2"], Tree("l->r r/ r/new=2")),
            Case("of this layer", &["r/ r/x=1", "l->r l/.wh.x"], Tree("l->r r/")),
            Case("to the root", &["x=1 l->.", "l/.wh.x"], Tree("l->.")),
            Case("dangling", &["a=1 l->no/where", "l/.wh.x"], Tree("a=1 l->no/where")),
            Case(
                "spares the entry of this layer",
                &["r/ r/x=1 l->r", "r/x=2 l/.wh.x"],
                Tree("l->r r/ r/x=2"),
            ),
            Case(
                "spares the entry made through the link",
                &["r/ r/x=1 l->r", "l/x=2 r/.wh.x"],
                Tree("l->r r/ r/x=2"),
            ),
        ],
    );
}

#[test]
fn whiteout_through_a_symlink_removes_nothing_outside() {
    if !needs::overlay() {
        return;
    }
    let whiteouts = "l/.wh.file l/.wh.dir l/dir/.wh.x l/dir/.wh..wh..opq";
    for target in ["../canary", "../../../../../canary", "/CANARY", "/canary", "../canary/dir/.."] {
        let lower = [layer("a=1"), vec![common::archive::symlink("l", target)]].concat();
        each_applied(EVERY, &[lower.clone(), layer(whiteouts)], |outcome| {
            assert!(outcome.tree.get("a").is_some());
        });
        let whole = [lower, layer(whiteouts)].concat();
        each_applied(EVERY, &[whole], |outcome| assert!(outcome.tree.get("a").is_some()));
    }
}

#[test]
fn whiteout_of_a_symlink_spares_its_target() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("to a file", &["t=1 l->t", ".wh.l"], Tree("t=1")),
            Case("to a directory", &["t/ t/x=1 l->t", ".wh.l"], Tree("t/ t/x=1")),
            Case("absolute", &["t/ t/x=1 l->/t", ".wh.l"], Tree("t/ t/x=1")),
            Case("dangling", &["t=1 l->no", ".wh.l"], Tree("t=1")),
            Case("loop", &["t=1 l->l", ".wh.l"], Tree("t=1")),
            Case("below", &["d/ t=1 d/l->../t", "d/.wh.l"], Tree("d/ t=1")),
            Case("outside", &["a=1 l->../canary", ".wh.l"], Tree("a=1")),
        ],
    );
}

#[test]
fn other_aufs_names_are_skipped_and_reported() {
    if !needs::overlay() {
        return;
    }
    let cases = [
        Case("file", &["a=1", ".wh..wh.aufs=x"], Tree("a=1")),
        Case("directory", &["a=1", ".wh..wh.plnk/"], Tree("a=1")),
        Case("in a directory", &["d/ d/a=1", "d/.wh..wh.orph"], Tree("d/ d/a=1")),
        Case("below one", &["a=1", ".wh..wh.plnk/1.2=x"], Tree("a=1")),
        Case("almost a marker", &["d/ d/a=1", "d/.wh..wh..opqx"], Tree("d/ d/a=1")),
        Case("hardlink", &["a=1", ".wh..wh.plnk=>a"], Tree("a=1")),
    ];
    check(EVERY, &cases);
    for Case(what, layers, _) in &cases {
        each_applied(EVERY, &stack(layers), |outcome| {
            let report = outcome.reports.last().expect("a report");
            assert_eq!(report.skipped.count(SkipReason::AufsMetadata), 1, "{what}");
            assert_eq!(report.entries.total, 1, "{what}");
        });
    }
}

#[test]
fn data_of_a_whiteout_is_passed_over() {
    if !needs::overlay() {
        return;
    }
    let long = "x".repeat(5000);
    let upper = vec![
        file(".wh.a").data(&long),
        file("d/.wh.b").data("x"),
        opaque("e").data(&long),
        file("c").data("2"),
    ];
    each_applied(EVERY, &[layer("a=1 d/ d/b=1 e/ e/x=1 k=1"), upper], |outcome| {
        assert_eq!(outcome.tree.list(), ["c=2", "d/", "e/", "k=1"]);
    });
}

#[test]
fn whiteouts_and_markers_are_counted() {
    if !needs::overlay() {
        return;
    }
    let upper = "d/.wh.a d/s/.wh..wh..opq .wh.e e/ e/x=2";
    each_applied(EVERY, &stack(&["d/ d/a=1 d/s/ d/s/x=1 e/ e/old=1", upper]), |outcome| {
        let report = &outcome.reports[1];
        assert_eq!(report.entries.total, 5);
        assert_eq!(report.whiteouts, 2);
        // A directory shows no difference between removed and never been; an upper one is marked.
        let recreated = u64::from(outcome.setting.way != Way::Directory);
        assert_eq!(report.opaque_directories, 1 + recreated);
        assert_eq!(report.entries.files, 1);
        assert_eq!(report.entries.directories, 1);
        assert!(report.skipped.is_empty());
        assert!(!report.partial);
    });
}

#[test]
fn content_of_a_used_upper_counts_as_this_layers_own() {
    if !needs::overlay() {
        return;
    }
    // Two archives into one upper directory: what the first made is not lower for the second.
    use common::archive::archive;
    use common::runner::{Scene, set_mtime};
    use ocilayer::{Lowers, Options, Source, unpack};
    for way in KNOWING_OVERLAYS {
        let scene = Scene::new();
        let known = |lowers: Vec<std::path::PathBuf>| {
            Options::default().mode(way.mode()).lowers(Lowers::Known(lowers))
        };
        let apply = |text: &str, root: usize, lowers: Vec<std::path::PathBuf>| {
            let blob = archive(&layer(text));
            unpack(Source::memory(&blob), scene.root(root), &known(lowers)).expect("unpack");
        };
        apply("d/ d/low=1 x=1", 0, vec![]);
        set_mtime(&scene.root(1), 0);
        apply("d/up=2 x=2", 1, vec![scene.root(0)]);
        apply(".wh.x d/.wh..wh..opq", 1, vec![scene.root(0)]);
        let layers = [scene.root(1), scene.root(0)];
        let userxattr = *way == common::runner::Way::Userxattr;
        let mount = common::overlay::Overlay::mount(&layers, userxattr).expect("mount");
        let private = common::tree::Private::Hide;
        let tree = common::tree::Tree::of_fd(std::os::fd::AsFd::as_fd(&mount), private, &[]);
        assert_eq!(tree.list(), ["d/", "d/up=2", "x=2"], "{way:?}");
        scene.assert_untouched();
    }
}

#[test]
fn whiteout_below_a_file_of_this_layer_never_harms_it() {
    if !needs::overlay() {
        return;
    }
    // Refused or passed over, by its place in the archive; the file is there in both cases.
    for order in orders(&layer("f=2 f/.wh.x")) {
        let stack = [layer("f/ f/x=1"), order];
        common::cases::each(KNOWING, &stack, |outcome| match &outcome.failure {
            None => assert_eq!(outcome.tree.list(), ["f=2"]),
            Some(_) => {
                common::cases::refused(outcome, 2, Some(ErrorKind::Layer)).expect("clear");
            }
        });
    }
}

#[test]
fn marker_that_hides_the_symlink_it_came_through_makes_later_names_resolve_anew() {
    if !needs::overlay() {
        return;
    }
    check(
        KNOWING,
        &[
            Case(
                "marker",
                &["b/", "b/a->../b", "b/a/.wh..wh..opq b/a/x=1"],
                Tree("b/ b/a/ b/a/x=1"),
            ),
            Case(
                "replaced",
                &["b/", "b/a->../b", "b/a/x=1 b/a/ b/a/y=2"],
                Tree("b/ b/a/ b/a/y=2 b/x=1"),
            ),
        ],
    );
}

#[test]
fn names_as_long_as_a_file_system_holds_can_be_whitened_out() {
    if !needs::overlay() {
        return;
    }
    for length in 250..=255 {
        let name = "n".repeat(length);
        let lower = vec![file(format!("d/{name}")), file("d/keep"), file(&name)];
        let whiteouts = vec![file(format!("d/.wh.{name}")), file(format!(".wh.{name}"))];
        each_applied(KNOWING, &[lower, whiteouts], |outcome| {
            assert_eq!(outcome.tree.list(), ["d/", "d/keep"], "{length} bytes");
        });
    }
    let longer = vec![file(format!(".wh.{}", "n".repeat(256)))];
    common::cases::each_refused(EVERY, ErrorKind::Layer, &[longer]);
}

#[test]
fn directory_in_which_something_is_mounted_is_not_emptied() {
    if !needs::overlay() || !needs::tool("mount") {
        return;
    }
    for (lower, upper) in [
        ("d/ d/m/ d/a=1", ".wh.d"),
        ("d/ d/m/ d/a=1", "d/.wh..wh..opq"),
        ("d/ d/m/ d/a=1", "d=2"),
        ("d/ d/m/ d/a=1", "d/.wh.m"),
        ("d/ d/m/ d/a=1", ".wh..wh..opq"),
    ] {
        let scene = common::runner::Scene::new();
        let apply = |text: &str| {
            let blob = common::archive::archive(&layer(text));
            ocilayer::unpack(ocilayer::Source::memory(&blob), scene.root(0), &Options::default())
        };
        apply(lower).expect("the lower layer");
        let other = scene.root(1);
        std::fs::write(other.join("precious"), "1").expect("write");
        for bind in [true, false] {
            let at = scene.root(0).join("d/m");
            let source = if bind { other.as_os_str() } else { "tmpfs".as_ref() };
            let kind: &[&str] = if bind { &["--bind"] } else { &["-t", "tmpfs"] };
            let run = |program: &str, words: &[&std::ffi::OsStr]| {
                let done = std::process::Command::new(program).args(words).status();
                assert!(done.expect(program).success(), "{program}");
            };
            let mut words: Vec<&std::ffi::OsStr> = kind.iter().map(|word| word.as_ref()).collect();
            words.extend([source, at.as_os_str()]);
            run("mount", &words);
            std::fs::write(at.join("precious"), "1").expect("write");
            let result = apply(upper);
            let there = at.join("precious").exists() && scene.root(0).join("d/a").exists();
            run("umount", &[at.as_os_str()]);
            let error = result.expect_err(upper);
            assert_eq!(error.errno(), ocilayer::Errno::BUSY, "{error}");
            assert!(error.to_string().contains("something is mounted there"), "{error}");
            assert!(there, "{upper}: nothing was to be deleted");
        }
        apply(upper).expect("nothing is mounted any more");
    }
}
