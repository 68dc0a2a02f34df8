// SPDX-License-Identifier: Apache-2.0
//! Links, parents and replacement: the second table of docs/layer-semantics.md.

mod common;

use common::archive::{
    Entry, archive, char_device, dir, file, hardlink, layer, opaque, symlink, whiteout,
};
use common::cases::{Case, Fails, LAYER, Tree, check, check_any_order, each, each_applied};
use common::needs;
use common::runner::{BLIND, EVERY, KNOWING, Scene};
use common::tree::Tree as Found;
use ocilayer::{Devices, Errno, ErrorKind, Expect, Observer, Options, SkipReason, Source};
use ocilayer::{unpack, unpack_with};

#[test]
fn parent_that_is_a_symlink_in_a_lower_layer_is_followed() {
    if !needs::overlay() {
        return;
    }
    check(
        KNOWING,
        &[
            Case("relative", &["r/ l->r", "l/x=1"], Tree("l->r r/ r/x=1")),
            Case("absolute", &["r/ l->/r", "l/x=1"], Tree("l->/r r/ r/x=1")),
            Case("dotted", &["r/ d/ d/l->../r", "d/l/x=1"], Tree("d/ d/l->../r r/ r/x=1")),
            Case("chain", &["r/ m->r l->m", "l/x=1"], Tree("l->m m->r r/ r/x=1")),
            Case(
                "in the middle",
                &["r/ r/s/ r/s/old=1 l->r", "l/s/x=1"],
                Tree("l->r r/ r/s/ r/s/old=1 r/s/x=1"),
            ),
            Case(
                "with new directories",
                &["r/ l->r", "l/a/b/x=1"],
                Tree("l->r r/ r/a/ r/a/b/ r/a/b/x=1"),
            ),
            Case("layers apart", &["r/ r/old=1", "l->r", "l/x=1"], Tree("l->r r/ r/old=1 r/x=1")),
            Case("replaces there", &["r/ r/x=1 l->r", "l/x=2"], Tree("l->r r/ r/x=2")),
            Case(
                "entry that is a directory",
                &["r/ r/d/ r/d/old=1 l->r", "l/d/"],
                Tree("l->r r/ r/d/ r/d/old=1"),
            ),
            Case("link replaced between", &["r/ l->r", ".wh.l l/", "l/x=1"], Tree("l/ l/x=1 r/")),
            Case(
                "link renewed between",
                &["r/ s/ l->r", "l->s", "l/x=1"],
                Tree("l->s r/ s/ s/x=1"),
            ),
            Case(
                "target removed between",
                &["r/ r/old=1 l->r", ".wh.r", "l/x=1"],
                Tree("l->r r/ r/x=1"),
            ),
            Case(
                "after its whiteout",
                &["r/ r/old=1 l->r", ".wh.l l/x=1"],
                Tree("l/ l/x=1 r/ r/old=1"),
            ),
            Case(
                "target is a link to a link",
                &["a/ b->a c->b d->c", "d/x=1 c/y=1"],
                Tree("a/ a/x=1 a/y=1 b->a c->b d->c"),
            ),
            Case(
                "usr merge",
                &["usr/ usr/bin/ usr/bin/sh=1 bin->usr/bin", "bin/ls=2"],
                Tree("bin->usr/bin usr/ usr/bin/ usr/bin/sh=1 usr/bin/ls=2"),
            ),
        ],
    );
}

#[test]
fn parent_that_is_a_symlink_of_this_layer_is_followed() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("relative", &["r/ l->r l/x=1"], Tree("l->r r/ r/x=1")),
            Case("absolute", &["r/ l->/r l/x=1"], Tree("l->/r r/ r/x=1")),
            Case("upper", &["a=1", "r/ l->r l/x=1"], Tree("a=1 l->r r/ r/x=1")),
            Case("last one wins", &["r/ s/ l->r l/x=1 l->s l/y=2"], Tree("l->s r/ r/x=1 s/ s/y=2")),
        ],
    );
}

/// It goes to make way for the link, and what is behind it stays.
#[test]
fn hardlink_takes_the_place_of_the_symlink_that_its_target_is_behind() {
    if !needs::overlay() {
        return;
    }
    let upper = vec![file("l/a").data("1"), hardlink("l", "l/a")];
    each_applied(KNOWING, &[vec![symlink("l", "d")], upper], |outcome| {
        assert!(outcome.tree.linked("l", "d/a"));
    });
}

/// Only the symlink goes, by which the target was found.
#[test]
fn whiteout_of_a_symlink_that_a_link_target_is_behind_is_no_contradiction() {
    if !needs::overlay() {
        return;
    }
    let lower = vec![dir("d"), file("d/f").data("1"), symlink("l", "d")];
    let upper = vec![hardlink("h", "l/f"), whiteout("l")];
    each_applied(KNOWING, &[lower, upper], |outcome| {
        assert!(outcome.tree.linked("h", "d/f"));
        assert!(!outcome.tree.0.contains_key(&b"l"[..]));
    });
}

/// The marker is behind the symlink, and hides nothing that is linked.
#[test]
fn opaque_marker_behind_a_symlink_that_is_linked_empties_what_it_leads_to() {
    if !needs::overlay() {
        return;
    }
    let lower = vec![dir("d"), file("d/old"), symlink("l", "d")];
    let upper = vec![hardlink("h", "l"), opaque("l")];
    each_applied(KNOWING, &[lower, upper], |outcome| {
        assert!(outcome.tree.linked("h", "l"));
        assert!(!outcome.tree.0.contains_key(&b"d/old"[..]));
    });
}

#[test]
fn symlinked_parents_stay_below_the_root() {
    if !needs::overlay() {
        return;
    }
    for (target, place) in [
        ("..", ""),
        ("../../../../..", ""),
        ("/", ""),
        ("/..", ""),
        ("/../r", "r/"),
        ("../r", "r/"),
        ("r/../../r", "r/"),
        ("../canary", "canary/"),
        ("./../../canary/dir", "canary/dir/"),
    ] {
        let lower = [layer("r/"), vec![symlink("l", target)]].concat();
        let upper = layer("l/x=1");
        let whole = [lower.clone(), upper.clone()].concat();
        let name = format!("{place}x");
        let lands = |outcome: &common::runner::Outcome| {
            assert!(outcome.tree.get(&name).is_some(), "{target} must lead to {name}");
        };
        each_applied(KNOWING, &[lower, upper], lands);
        each_applied(EVERY, &[whole], lands);
    }
    let absolute = [symlink("l", "/CANARY"), file("l/x").data("1"), file("l/dir/x").data("1")];
    each_applied(EVERY, &[absolute.to_vec()], |outcome| {
        let base = outcome.scene.canary();
        let inside = base.strip_prefix("/").expect("absolute").join("x");
        assert!(outcome.tree.get(inside.to_str().expect("UTF-8")).is_some());
    });
}

#[test]
fn dangling_symlink_as_parent_makes_the_directories_it_points_to() {
    if !needs::overlay() {
        return;
    }
    check(
        KNOWING,
        &[
            Case(
                "lower",
                &["l->no/where", "l/x=1"],
                Tree("l->no/where no/ no/where/ no/where/x=1"),
            ),
            Case("absolute", &["l->/no", "l/x=1"], Tree("l->/no no/ no/x=1")),
            Case("clamped", &["l->../../no", "l/x=1"], Tree("l->../../no no/ no/x=1")),
            Case("chain", &["l->m m->no", "l/x=1"], Tree("l->m m->no no/ no/x=1")),
            Case("below", &["d/ d/l->no", "d/l/x=1"], Tree("d/ d/l->no d/no/ d/no/x=1")),
        ],
    );
    check(
        EVERY,
        &[
            Case(
                "this layer",
                &["l->no/where l/x=1"],
                Tree("l->no/where no/ no/where/ no/where/x=1"),
            ),
            Case("clamped, this layer", &["l->../../no l/x=1"], Tree("l->../../no no/ no/x=1")),
        ],
    );
}

#[test]
fn forty_symlinks_are_followed_and_no_more() {
    if !needs::overlay() {
        return;
    }
    let chain = |links: usize| -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            (1..links).map(|n| symlink(format!("l{n}"), format!("l{}", n + 1))).collect();
        entries.push(symlink(format!("l{links}"), "r"));
        entries.push(dir("r"));
        entries
    };
    each_applied(KNOWING, &[chain(40), layer("l1/x=1")], |outcome| {
        assert!(outcome.tree.get("r/x").is_some());
    });
    each_applied(EVERY, &[[chain(40), layer("l1/x=1")].concat()], |outcome| {
        assert!(outcome.tree.get("r/x").is_some());
    });
    let too_long = |outcome: &common::runner::Outcome| {
        let (_, error) = outcome.failure.as_ref().expect("a failure");
        assert_eq!(error.errno(), Errno::LOOP, "{error}");
        assert!(error.place().is_some());
    };
    each(KNOWING, &[chain(41), layer("l1/x=1")], too_long);
    each(EVERY, &[[chain(41), layer("l1/x=1")].concat()], too_long);
    each(KNOWING, &[layer("l->l"), layer("l/x=1")], too_long);
    each(EVERY, &[layer("a->b b->a a/x=1")], too_long);
}

/// A directory that is unlike any new one.
fn odd(name: &str) -> Entry {
    dir(name).mode(0o2751).owner(5, 6).mtime(1234, 5678).xattr("user.k", "v")
}

#[track_caller]
fn assert_odd(outcome: &common::runner::Outcome, name: &str) {
    let node = outcome.tree.at(name);
    assert_eq!((node.mode, node.uid, node.gid), (0o2751, 5, 6), "{name}");
    assert_eq!(node.mtime, (1234, 5678), "{name}");
    assert_eq!(node.xattr("user.k"), Some(&b"v"[..]), "{name}");
    assert_eq!(node.xattrs.len(), 1, "{name}");
}

#[track_caller]
fn assert_new(outcome: &common::runner::Outcome, name: &str) {
    let node = outcome.tree.at(name);
    assert_eq!((node.mode, node.uid, node.gid), (0o755, 0, 0), "{name}");
    assert!(node.xattrs.is_empty(), "{name}");
}

#[test]
fn implied_parents_are_the_lower_directories() {
    if !needs::overlay() {
        return;
    }
    let lower = || vec![odd("a"), odd("a/b"), odd("a/b/c"), file("a/b/c/old")];
    for upper in [
        layer("a/b/c/x=1"),
        layer("a/b/c/.wh.old"),
        layer("a/b/c/.wh..wh..opq"),
        layer("a/b/c/.wh.nothing"),
        layer("a/b/c/old=2"),
        layer("a/b/c/x->y a/b/c/z=>a/b/c/x"),
        layer("a/b/c/d/e/"),
    ] {
        each_applied(KNOWING, &[lower(), upper], |outcome| {
            for name in ["a", "a/b", "a/b/c"] {
                assert_odd(outcome, name);
            }
        });
    }
    each_applied(KNOWING, &[vec![odd("a")], layer("z=1"), layer("a/x=1")], |outcome| {
        assert_odd(outcome, "a");
    });
    let changed = vec![dir("a"), odd("a/b")];
    each_applied(KNOWING, &[layer("a/ a/b/"), changed, layer("a/b/x=1")], |outcome| {
        assert_new(outcome, "a");
        assert_odd(outcome, "a/b");
    });
    each_applied(KNOWING, &[vec![odd("r"), symlink("l", "r")], layer("l/x=1")], |outcome| {
        assert_odd(outcome, "r");
    });
}

#[test]
fn implied_parents_of_new_names_are_plain() {
    if !needs::overlay() {
        return;
    }
    each_applied(EVERY, &[layer("a/b/x=1 c/d/")], |outcome| {
        for name in ["a", "a/b", "c"] {
            assert_new(outcome, name);
        }
    });
    each_applied(EVERY, &[layer("z=1"), layer("a/b/x=1")], |outcome| {
        for name in ["a", "a/b"] {
            assert_new(outcome, name);
        }
    });
}

#[test]
fn implied_parents_take_nothing_from_beyond_a_whiteout_or_marker() {
    if !needs::overlay() {
        return;
    }
    let lower = || vec![odd("a"), odd("a/b"), file("a/b/old")];
    for upper in
        ["a/.wh.b a/b/x=1", "a/b/x=1 a/.wh.b", "a/.wh..wh..opq a/b/x=1", "a/b/x=1 a/.wh..wh..opq"]
    {
        each_applied(KNOWING, &[lower(), layer(upper)], |outcome| {
            assert_odd(outcome, "a");
            assert_new(outcome, "a/b");
        });
    }
    for between in ["a/.wh.b", "a/.wh..wh..opq", ".wh.a", "a=1"] {
        each_applied(KNOWING, &[lower(), layer(between), layer("a/b/x=1")], |outcome| {
            assert_new(outcome, "a/b");
        });
    }
    each_applied(KNOWING, &[lower(), layer(".wh..wh..opq a/b/x=1")], |outcome| {
        for name in ["a", "a/b"] {
            assert_new(outcome, name);
        }
    });
    each_applied(KNOWING, &[lower(), layer(".wh.a a/b/x=1")], |outcome| {
        for name in ["a", "a/b"] {
            assert_new(outcome, name);
        }
    });
    each_applied(KNOWING, &[lower(), layer("a=1"), layer("a/x=1")], |outcome| {
        assert_new(outcome, "a");
    });
}

#[test]
fn directories_that_only_lose_or_gain_children_keep_their_mtime() {
    if !needs::overlay() {
        return;
    }
    let lower = || vec![odd("a"), file("a/x"), dir("a/s").mtime(99, 1), file("a/s/y")];
    for upper in
        ["a/new=1", "a/.wh.x", "a/.wh.s", "a/x=2", "a/s/z=1", "a/s/", "a/x/y=1", "a/.wh.x a/n=1"]
    {
        each_applied(KNOWING, &[lower(), layer(upper)], |outcome| {
            assert_odd(outcome, "a");
            let root = outcome.tree.at("").mtime;
            assert_eq!(root, (common::runner::MTIME_ROOT, 0), "the root is such a directory");
        });
    }
    // A directory with an entry has that entry's time, whatever comes into it afterwards.
    let entry = vec![odd("a"), file("a/x"), dir("a/s"), file("a/s/y"), symlink("a/l", "x")];
    each_applied(EVERY, std::slice::from_ref(&entry), |outcome| {
        assert_odd(outcome, "a");
    });
    let reversed: Vec<Entry> = entry.into_iter().rev().collect();
    each_applied(EVERY, &[reversed], |outcome| assert_odd(outcome, "a"));
}

#[test]
fn parent_that_is_no_directory_of_this_layer_is_refused() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("file", &["x=1 x/y=2"], LAYER),
            Case("FIFO", &["x| x/y=2"], LAYER),
            Case("device", &["x%1:3 x/y=2"], LAYER),
            Case("hardlink", &["f=1 x=>f x/y=2"], LAYER),
            Case("grandparent", &["x=1 x/d/y=2"], LAYER),
            Case("directory below", &["x=1 x/d/"], LAYER),
            Case("link to a file", &["f=1 l->f l/y=2"], LAYER),
            Case("over a lower directory", &["x/ x/old=1", "x=1 x/y=2"], LAYER),
        ],
    );
}

#[test]
fn lower_file_where_a_parent_is_needed_is_replaced() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("file", &["x=1", "x/y=2"], Tree("x/ x/y=2")),
            Case("FIFO", &["x|", "x/y=2"], Tree("x/ x/y=2")),
            Case("below", &["a/ a/x=1 a/k=1", "a/x/b/y=2"], Tree("a/ a/k=1 a/x/ a/x/b/ a/x/b/y=2")),
            Case("two layers down", &["x/ x/old=1", "x=1", "x/y=2"], Tree("x/ x/y=2")),
            Case("by a directory", &["x=1", "x/d/"], Tree("x/ x/d/")),
        ],
    );
    check(KNOWING, &[Case("through a link", &["f=1 l->f", "l/y=2"], Tree("f/ f/y=2 l->f"))]);
    each_applied(EVERY, &[vec![file("x").mode(0o600).owner(5, 6)], layer("x/y=2")], |outcome| {
        assert_new(outcome, "x");
    });
}

#[test]
fn directory_over_directory_merges_and_replaces_the_metadata() {
    if !needs::overlay() {
        return;
    }
    let lower = || vec![odd("d"), file("d/low"), dir("d/s"), file("d/s/low")];
    let new = dir("d").mode(0o1700).owner(8, 9).mtime(77, 7).xattr("user.new", "n");
    for upper in [
        vec![new.clone()],
        vec![new.clone(), file("d/up")],
        vec![file("d/up"), new.clone()],
        vec![odd("d"), new.clone()],
    ] {
        each_applied(EVERY, &[lower(), upper], |outcome| {
            assert!(outcome.tree.get("d/low").is_some());
            assert!(outcome.tree.get("d/s/low").is_some());
            let node = outcome.tree.at("d");
            assert_eq!((node.mode, node.uid, node.gid), (0o1700, 8, 9));
            assert_eq!(node.mtime, (77, 7));
            assert_eq!(node.xattrs.len(), 1, "the lower xattr is stale");
            assert_eq!(node.xattr("user.new"), Some(&b"n"[..]));
        });
    }
    each_applied(EVERY, &[lower(), layer("d/")], |outcome| assert_new(outcome, "d"));
}

/// A layer with each type as `x`, and how it lists.
const TYPES: [(&str, &str); 9] = [
    ("x/", "x/"),
    ("x/ x/in=1 x/s/ x/s/in=1", "x/ x/in=1 x/s/ x/s/in=1"),
    ("x=1", "x=1"),
    ("x->t", "x->t"),
    ("x->d", "x->d"),
    ("x|", "x|"),
    ("x%1:3", "x%1:3"),
    ("x#8:0", "x#8:0"),
    ("x=>t", "x=t"),
];

#[test]
fn anything_over_anything_else_replaces_it() {
    if !needs::overlay() {
        return;
    }
    for (below, _) in TYPES {
        for (above, listed) in TYPES {
            if below.starts_with("x/") && above.starts_with("x/") {
                continue;
            }
            let want = |outcome: &common::runner::Outcome| {
                let mut want: Vec<&str> = listed.split_whitespace().collect();
                want.extend(["d/", "d/k=1", "t=t"]);
                want.sort();
                assert_eq!(outcome.tree.list(), want, "{above} over {below}");
            };
            let beside = layer("t=t d/ d/k=1");
            let [below, above] = [below, above].map(layer);
            // The target belongs to the layer that links it, so that every way can.
            let upper = [layer("t=t"), above.clone()].concat();
            each_applied(EVERY, &[[beside.clone(), below.clone()].concat(), upper], want);
            each_applied(EVERY, &[[beside, below, above].concat()], want);
        }
    }
}

#[test]
fn last_of_two_entries_with_one_name_wins() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("files", &["x=1 x=22"], Tree("x=22")),
            Case("shorter", &["x=longer x=1"], Tree("x=1")),
            Case("three", &["x=1 x/ x=3"], Tree("x=3")),
            Case("dot in front", &["x=1 ./x=2"], Tree("x=2")),
            Case("slash in front", &["x=1 /x=2"], Tree("x=2")),
            Case("two slashes", &["d/ d/x=1 d//x=2"], Tree("d/ d/x=2")),
            Case("dot between", &["d/ d/x=1 d/./x=2"], Tree("d/ d/x=2")),
            Case("linked before", &["a=1 b=>a a=2"], Tree("a=2 b=1")),
            Case("linked after", &["a=1 a=2 b=>a"], Tree("a=2 b=2")),
            Case("link over its sibling", &["a=1 b=2 b=>a"], Tree("a=1 b=1")),
            Case("directory with content", &["d/ d/x=1 d=2"], Tree("d=2")),
        ],
    );
}

#[test]
fn metadata_of_a_replaced_directory_lands_on_nothing() {
    if !needs::overlay() {
        return;
    }
    let replaced = vec![odd("x"), file("x/in"), file("x").data("1").mode(0o600).mtime(5, 5)];
    each_applied(EVERY, &[replaced], |outcome| {
        let node = outcome.tree.at("x");
        assert_eq!((node.mode, node.uid, node.mtime), (0o600, 0, (5, 5)));
        assert!(node.xattrs.is_empty());
    });
    let target = dir("t").mode(0o711).mtime(7, 7);
    let linked = vec![odd("x"), target, symlink("x", "t").mtime(3, 3)];
    each_applied(EVERY, &[linked], |outcome| {
        assert_eq!(outcome.tree.at("t").mtime, (7, 7));
        assert_eq!(outcome.tree.at("t").mode, 0o711);
        assert_eq!(outcome.tree.at("x").mtime, (3, 3));
    });
    let again = vec![odd("x"), file("x"), dir("x").mtime(9, 9)];
    each_applied(EVERY, &[again], |outcome| {
        assert_new(outcome, "x");
        assert_eq!(outcome.tree.at("x").mtime, (9, 9));
    });
    let nested = vec![odd("x"), odd("x/s"), file("x").mtime(1, 1), dir("x/s")];
    each(EVERY, &[nested], |outcome| assert!(outcome.failure.is_some()));
}

#[test]
fn directory_over_something_else_of_this_layer_hides_lower_content() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("file between", &["x/ x/old=1", "x=2 x/"], Tree("x/")),
            Case("with content", &["x/ x/old=1", "x=2 x/ x/new=3"], Tree("x/ x/new=3")),
            Case("directory first", &["x/ x/old=1", "x/ x/new=2 x=2 x/"], Tree("x/")),
            Case("link between", &["x/ x/old=1 t/ t/k=1", "x->t x/"], Tree("t/ t/k=1 x/")),
            Case("below", &["p/ p/x/ p/x/old=1", "p/x| p/x/"], Tree("p/ p/x/")),
        ],
    );
}

#[test]
fn hardlink_to_a_lower_file_copies_it_up() {
    if !needs::overlay() {
        return;
    }
    let lower = || {
        let f = file("d/f").data("content").mode(0o4751).owner(5, 6).mtime(11, 22);
        vec![odd("d"), f.xattr("user.k", "v"), hardlink("g", "d/f"), symlink("l", "d")]
    };
    for target in ["d/f", "/d/f", "l/f", "./d//f", "../d/f", "g"] {
        let upper = vec![hardlink("h", target)];
        each_applied(KNOWING, &[lower(), upper], |outcome| {
            let name = if target == "g" { "g" } else { "d/f" };
            assert!(outcome.tree.linked("h", name), "{target}");
            for name in ["h", name] {
                let node = outcome.tree.at(name);
                assert_eq!((node.mode, node.uid, node.gid), (0o4751, 5, 6));
                assert_eq!(node.mtime, (11, 22));
                assert_eq!(node.xattr("user.k"), Some(&b"v"[..]));
            }
            assert_odd(outcome, "d");
            let copied = u64::from(outcome.setting.way.overlay());
            assert_eq!(outcome.reports[1].copied_up, copied);
        });
    }
    let twice = vec![hardlink("h", "d/f"), hardlink("d/i", "h"), hardlink("j", "d/f")];
    each_applied(KNOWING, &[lower(), twice], |outcome| {
        for name in ["h", "d/i", "j"] {
            assert!(outcome.tree.linked("d/f", name), "{name}");
        }
    });
    let below = vec![hardlink("n/m/h", "d/f")];
    each_applied(KNOWING, &[lower(), layer("z=1"), below], |outcome| {
        assert!(outcome.tree.linked("n/m/h", "d/f"));
    });
    let replaced = vec![hardlink("h", "d/f"), file("d/f").data("2")];
    each_applied(KNOWING, &[lower(), replaced], |outcome| {
        assert_eq!(outcome.tree.at("h").mode, 0o4751);
        assert!(!outcome.tree.linked("h", "d/f"));
    });
}

#[test]
fn hardlink_to_a_lower_file_fails_where_parents_are_unknown() {
    if !needs::overlay() {
        return;
    }
    check(BLIND, &[Case("lower target", &["f=1", "h=>f"], Fails)]);
}

#[test]
fn hardlink_to_a_name_that_this_layer_whitens_out_fails() {
    if !needs::overlay() {
        return;
    }
    check_any_order(
        EVERY,
        &[
            Case("whiteout", &["f=1", ".wh.f h=>f"], Fails),
            Case("whiteout above", &["d/ d/s/ d/s/f=1", ".wh.d h=>d/s/f"], Fails),
            Case("marker", &["d/ d/f=1", "d/.wh..wh..opq h=>d/f"], Fails),
            Case("marker above", &["d/ d/s/ d/s/f=1", "d/.wh..wh..opq h=>d/s/f"], Fails),
            Case("beside other entries", &["d/ d/f=1", "d/.wh.f d/x=2 h=>d/f"], Fails),
        ],
    );
    check_any_order(KNOWING, &[Case("marker at the root", &["f=1", ".wh..wh..opq h=>f"], Fails)]);
    check(
        EVERY,
        &[
            Case("whited out before", &["f=1", ".wh.f", "h=>f"], Fails),
            Case("made again first", &["f=1", ".wh.f f=2 h=>f"], Tree("f=2 h=2")),
            Case("made again before its whiteout", &["f=1", "f=2 h=>f .wh.f"], Tree("f=2 h=2")),
        ],
    );
}

#[test]
fn hardlink_to_nothing_or_a_directory_fails() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("nothing", &["a=1 h=>no"], Fails),
            Case("nothing below nothing", &["a=1 h=>no/no"], Fails),
            Case("below a file", &["a=1 h=>a/x"], Fails),
            Case("directory", &["d/ h=>d"], Fails),
            Case("root", &["d/ h=>."], Fails),
            Case("later entry", &["h=>a a=1"], Fails),
        ],
    );
    check(KNOWING, &[Case("lower directory", &["d/", "h=>d"], Fails)]);
}

#[test]
fn hardlink_to_a_symlink_links_the_symlink_itself() {
    if !needs::overlay() {
        return;
    }
    for target in ["t", "no", "/t", "../canary/file"] {
        let links = || vec![symlink("l", target).mtime(3, 4), hardlink("d/h", "l")];
        let same = |outcome: &common::runner::Outcome| {
            assert_eq!(outcome.tree.at("d/h").kind, outcome.tree.at("l").kind);
            assert!(outcome.tree.linked("d/h", "l"));
            assert_eq!(outcome.tree.at("d/h").mtime, (3, 4));
        };
        each_applied(EVERY, &[[layer("t=1"), links()].concat()], same);
        let [lower, upper] = [layer("t=1"), links()];
        let [link, hard] = <[Entry; 2]>::try_from(upper).expect("two");
        each_applied(KNOWING, &[[lower, vec![link]].concat(), vec![hard]], same);
    }
}

#[test]
fn hardlink_headers_owner_mode_and_xattrs_are_ignored() {
    if !needs::overlay() {
        return;
    }
    let f = || file("f").data("1").mode(0o4755).owner(1, 2).mtime(3, 4).xattr("user.k", "v");
    let h = || {
        let h = hardlink("h", "f").mode(0o777).owner(8, 9).mtime(99, 99);
        h.xattr("user.k", "other").xattr("user.more", "x")
    };
    let stands = |outcome: &common::runner::Outcome| {
        let node = outcome.tree.at("h");
        assert!(outcome.tree.linked("f", "h"));
        assert_eq!((node.mode, node.uid, node.gid, node.mtime), (0o4755, 1, 2, (3, 4)));
        assert_eq!(node.xattrs.len(), 1);
        assert_eq!(node.xattr("user.k"), Some(&b"v"[..]));
    };
    each_applied(EVERY, &[vec![f(), h()]], stands);
    each_applied(KNOWING, &[vec![f()], vec![h()]], stands);
}

#[test]
fn hardlink_targets_are_resolved_inside_the_root() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("absolute", &["d/ d/f=1 h=>/d/f"], Tree("d/ d/f=1 h=1")),
            Case("dotdot", &["d/ d/f=1 d/h=>../../../d/f"], Tree("d/ d/f=1 d/h=1")),
            Case("dot", &["f=1 h=>./f"], Tree("f=1 h=1")),
            Case("only dotdot inside", &["f=1 d/ h=>d/../f"], Tree("d/ f=1 h=1")),
            Case("through a link", &["d/ d/f=1 l->d h=>l/f"], Tree("d/ d/f=1 h=1 l->d")),
            Case("through a clamped link", &["f=1 l->../.. h=>l/f"], Tree("f=1 h=1 l->../..")),
            Case("outside", &["a=1 h=>../canary/file"], Fails),
            Case("outside through a link", &["a=1 l->../canary h=>l/file"], Fails),
            Case("outside, deep", &["a=1 h=>../../../../../../../../etc/passwd"], Fails),
        ],
    );
    let absolute = vec![file("a"), hardlink("h", "/CANARY/file")];
    each(EVERY, &[absolute], |outcome| assert!(outcome.failure.is_some()));
}

#[test]
fn dot_entry_is_the_root_directory() {
    if !needs::overlay() {
        return;
    }
    for name in ["./", ".", "/", "./.", "//"] {
        let root = Entry { name: name.into(), ..odd("x") };
        each_applied(EVERY, &[vec![root.clone(), file("a"), dir("b")]], |outcome| {
            assert_odd(outcome, "");
            assert_eq!(outcome.tree.list(), ["a", "b/"]);
        });
        each_applied(EVERY, &[layer("z=1"), vec![file("a"), root]], |outcome| {
            assert_odd(outcome, "");
        });
    }
}

#[test]
fn root_without_an_entry_is_the_lower_root() {
    if !needs::overlay() {
        return;
    }
    let lower = || vec![Entry { name: "./".into(), ..odd("x") }, file("low")];
    for upper in ["a=1", "d/", ".wh.low", ".wh..wh..opq", "low=2"] {
        each_applied(KNOWING, &[lower(), layer(upper)], |outcome| assert_odd(outcome, ""));
        each_applied(KNOWING, &[lower(), layer("b=1"), layer(upper)], |outcome| {
            assert_odd(outcome, "");
        });
    }
    each_applied(KNOWING, &[lower(), vec![]], |outcome| assert_odd(outcome, ""));
}

#[test]
fn root_as_something_other_than_a_directory_is_refused() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("file", &[".=1"], LAYER),
            Case("slash file", &["/=1"], Fails),
            Case("symlink", &[".->d"], LAYER),
            Case("hardlink", &["a=1 .=>a"], LAYER),
            Case("FIFO", &[".|"], LAYER),
            Case("device", &[".%1:3"], LAYER),
            Case("by dotdot", &["d/ d/..=1"], LAYER),
        ],
    );
}

#[test]
fn names_begin_at_the_root_and_are_normalised() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("absolute", &["/a/x=1 //b=2"], Tree("a/ a/x=1 b=2")),
            Case("dot", &["./a=1 ././b=2 .//c=3 /./d=4"], Tree("a=1 b=2 c=3 d=4")),
            Case("inside", &["d/s/ d/../x=1 d/s/../y=2"], Tree("d/ d/s/ d/y=2 x=1")),
            Case("through nothing", &["no/../x=1"], Tree("x=1")),
            Case("directory", &["d/ d/s/../t/"], Tree("d/ d/t/")),
            Case("three dots", &[".../x=1 ..x=2"], Tree(".../ .../x=1 ..x=2")),
        ],
    );
}

#[test]
fn names_that_climb_above_the_root_are_refused() {
    if !needs::overlay() {
        return;
    }
    check(
        EVERY,
        &[
            Case("file", &["../x=1"], LAYER),
            Case("over the canary", &["../canary/file=1"], LAYER),
            Case("absolute", &["/../x=1"], LAYER),
            Case("inside first", &["a/../../x=1"], LAYER),
            Case("and back", &["../root0/x=1"], LAYER),
            Case("directory", &["../"], LAYER),
            Case("dotdot", &[".."], LAYER),
            Case("symlink", &["../l->x"], LAYER),
            Case("hardlink", &["f=1 ../h=>f"], LAYER),
            Case("whiteout", &["../canary/.wh.file"], LAYER),
            Case("marker", &["../canary/.wh..wh..opq"], LAYER),
            Case("deep", &["a/b/../../../canary/x=1"], LAYER),
        ],
    );
    // Nothing is written, neither the name nor what it passes through.
    each(EVERY, &[layer("a/../../x=1")], |outcome| {
        let root = common::tree::Tree::of(&outcome.scene.root(0));
        assert_eq!(root.list(), [""; 0]);
        assert!(matches!(&outcome.failure, Some((0, e)) if e.kind() == ErrorKind::Layer));
    });
}

#[test]
fn hardlinks_into_aufs_metadata_get_that_files_content() {
    if !needs::overlay() {
        return;
    }
    let source = || file(".wh..wh.plnk/12.34").data("payload").mode(0o4755).owner(7, 8);
    let links =
        || vec![hardlink("bin/one", ".wh..wh.plnk/12.34"), hardlink("two", "/.wh..wh.plnk/12.34")];
    let metadata = || vec![dir(".wh..wh.plnk").mode(0o700), source()];
    let unused = file(".wh..wh.plnk/56.78").data("nobody's");
    let layers = [
        [metadata(), vec![dir("bin"), unused], links()].concat(),
        // As containerd takes it, with no entry of the directory, and a marker of the root.
        [vec![source()], links(), vec![opaque("")]].concat(),
    ];
    for entries in layers {
        each_applied(KNOWING, &[layer("two=old"), entries], |outcome| {
            let names: Vec<_> = outcome.tree.list();
            assert_eq!(names, ["bin/", "bin/one=payload", "two=payload"]);
            assert!(outcome.tree.linked("bin/one", "two"));
            let node = outcome.tree.at("two");
            assert_eq!((node.uid, node.gid, node.mode), (7, 8, 0o4755));
            let report = outcome.reports.last().expect("a report");
            assert!(report.skipped.count(SkipReason::AufsMetadata) > 0);
            // Nothing of it is left on disk either.
            for layer in 0..2 {
                assert!(!outcome.scene.root(layer).join(".wh..wh.plnk").exists());
            }
        });
    }
    // A wrong digest is found at the very end.
    let scene = Scene::new();
    let wrong = format!("sha256:{}", "0".repeat(64)).parse().expect("a digest");
    let options = Options::default().expect(Expect::default().blob(wrong));
    let blob = archive(&[metadata(), links()].concat());
    unpack(Source::memory(&blob), scene.root(0), &options).expect_err("another digest");
    assert!(!scene.root(0).join(".wh..wh.plnk").exists());
    // A failure leaves nothing of it either.
    let fails = [metadata(), links(), vec![file("../up")]].concat();
    each(EVERY, &[fails], |outcome| {
        assert!(outcome.failure.is_some());
        assert!(!outcome.scene.root(0).join(".wh..wh.plnk").exists());
    });
}

#[test]
fn hardlink_to_what_was_left_out_is_left_out_too() {
    if !needs::overlay() {
        return;
    }
    let stack = [
        layer("null=lower other=lower"),
        vec![
            char_device("null", 1, 3),
            hardlink("zero", "null"),
            hardlink("again", "/zero"),
            file(".wh..wh.aufs"),
            hardlink("aufs", ".wh..wh.aufs"),
            hardlink("real", "other"),
            file("null").data("now"),
            hardlink("late", "null"),
        ],
    ];
    let options = Options::default().devices(Devices::Skip);
    let scene = Scene::new();
    let reports = stack.map(|entries| {
        let blob = archive(&entries);
        unpack(Source::memory(&blob), scene.root(0), &options).expect("unpacked")
    });
    let skipped = reports[1].skipped.get(SkipReason::LinkToSkipped).expect("reported");
    let names: Vec<_> = skipped.examples.iter().map(|example| &example.path[..]).collect();
    assert_eq!(names, [&b"zero"[..], b"again", b"aufs"]);
    let list = Found::of(&scene.root(0)).list();
    assert_eq!(list, ["late=now", "null=now", "other=lower", "real=lower"]);
}

#[test]
fn hardlink_to_what_the_filter_declined_is_left_out_too() {
    struct Declines;
    impl Observer for Declines {
        fn filters(&self) -> bool {
            true
        }

        fn filter(&mut self, entry: &ocilayer::Entry) -> Result<bool, Errno> {
            Ok(entry.name != b"d/a")
        }
    }
    let scene = Scene::new();
    let blob = archive(&layer("d/ d/a=1 b=>d/a c=2"));
    let options = Options::default();
    let report = unpack_with(Source::memory(&blob), scene.root(0), &options, &mut Declines);
    assert_eq!(report.expect("unpacked").skipped.count(SkipReason::LinkToSkipped), 1);
    assert_eq!(Found::of(&scene.root(0)).list(), ["c=2", "d/"]);
}
