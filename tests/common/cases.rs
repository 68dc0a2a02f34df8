// SPDX-License-Identifier: Apache-2.0
//! Tables of cases: layers in, merged tree or refusal out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ocilayer::ErrorKind;

use crate::common::archive::{Entry, layer};
use crate::common::runner::{Outcome, Setting, Way, apply, plain_settings, settings};

/// What is tried, the layers from the bottom up, what comes out.
pub struct Case(pub &'static str, pub &'static [&'static str], pub Want);

/// What a case leads to.
pub enum Want {
    /// Exactly this merged tree.
    Tree(&'static str),
    /// The last layer fails with this kind and names the entry.
    Refused(ErrorKind),
    /// The last layer fails; whether by its meaning or at the file system is left open.
    Fails,
}

pub use Want::{Fails, Refused, Tree};

/// A layer may not ask for this.
pub const LAYER: Want = Refused(ErrorKind::Layer);

/// Checks cases whose last layer stands as it is written.
#[track_caller]
pub fn check(ways: &[Way], cases: &[Case]) {
    let mut failures = Failures::default();
    for Case(what, layers, want) in cases {
        let stack: Vec<Vec<Entry>> = layers.iter().map(|text| layer(text)).collect();
        for setting in settings(ways) {
            failures.add(what, setting, || judge(&apply(&stack, setting), stack.len(), want));
        }
    }
    failures.report();
}

/// Checks cases whose last layer means the same in whatever order its entries stand.
#[track_caller]
pub fn check_any_order(ways: &[Way], cases: &[Case]) {
    let mut failures = Failures::default();
    for Case(what, layers, want) in cases {
        let mut stack: Vec<Vec<Entry>> = layers.iter().map(|text| layer(text)).collect();
        let last = stack.pop().expect("a layer");
        for (number, order) in orders(&last).into_iter().enumerate() {
            let names: Vec<String> =
                order.iter().map(|e| e.name.escape_ascii().to_string()).collect();
            let what = format!("{what} [{}]", names.join(" "));
            stack.push(order);
            let settings = if number == 0 { settings(ways) } else { plain_settings(ways) };
            for setting in settings {
                failures.add(&what, setting, || judge(&apply(&stack, setting), stack.len(), want));
            }
            stack.pop();
        }
    }
    failures.report();
}

/// Runs `check` on a stack in every setting.
#[track_caller]
pub fn each(ways: &[Way], stack: &[Vec<Entry>], check: impl Fn(&Outcome)) {
    let mut failures = Failures::default();
    for setting in settings(ways) {
        failures.add("", setting, || {
            let outcome = apply(stack, setting);
            let damage = outcome.damage();
            assert!(damage.is_empty(), "changed outside the root:\n{}", damage.join("\n"));
            let checked = catch_unwind(AssertUnwindSafe(|| check(&outcome)));
            checked.map_err(|panic| format!("{}\nin\n{}", message(&panic), outcome.tree))
        });
    }
    failures.report();
}

/// The same for a stack that must apply without failure.
#[track_caller]
pub fn each_applied(ways: &[Way], stack: &[Vec<Entry>], check: impl Fn(&Outcome)) {
    each(ways, stack, |outcome| {
        outcome.assert_applied();
        check(outcome);
    });
}

/// The same for a stack whose last layer must fail as a layer that asks for what it may not.
#[track_caller]
pub fn each_refused(ways: &[Way], kind: ErrorKind, stack: &[Vec<Entry>]) {
    each(ways, stack, |outcome| {
        if let Err(reason) = refused(outcome, stack.len(), Some(kind)) {
            panic!("{reason}");
        }
    });
}

fn judge(outcome: &Outcome, layers: usize, want: &Want) -> Result<(), String> {
    let damage = outcome.damage();
    if !damage.is_empty() {
        return Err(format!("changed outside the root:\n{}", damage.join("\n")));
    }
    match want {
        Refused(kind) => refused(outcome, layers, Some(*kind)),
        Fails => refused(outcome, layers, None),
        Tree(text) => {
            if let Some((layer, error)) = &outcome.failure {
                return Err(format!("layer {layer} failed: {error}"));
            }
            let mut want: Vec<&str> = text.split_whitespace().collect();
            want.sort();
            let got = outcome.tree.list();
            if got == want {
                return Ok(());
            }
            Err(format!("  want: {}\n  got:  {}", want.join(" "), got.join(" ")))
        }
    }
}

pub fn refused(outcome: &Outcome, layers: usize, kind: Option<ErrorKind>) -> Result<(), String> {
    let Some((layer, error)) = &outcome.failure else {
        return Err(format!("  not refused: {}", outcome.tree.list().join(" ")));
    };
    if layer + 1 != layers {
        return Err(format!("layer {layer} failed already: {error}"));
    }
    let got = error.kind();
    match kind {
        Some(kind) if got != kind => {
            return Err(format!("refused as {got:?}, not {kind:?}: {error}"));
        }
        None if !DELIBERATE.contains(&got) => {
            return Err(format!("failed as {got:?}: {error}"));
        }
        _ => {}
    }
    if error.place().is_none() {
        return Err(format!("no entry named: {error}"));
    }
    match error.report() {
        Some(report) if report.partial => Ok(()),
        report => Err(format!("report says it is whole: {report:?}")),
    }
}

/// Kinds that say that what the layer asks for cannot be.
const DELIBERATE: [ErrorKind; 4] =
    [ErrorKind::Layer, ErrorKind::Filesystem, ErrorKind::Archive, ErrorKind::Unsupported];

/// Every order of a short layer; of a longer one, forwards, backwards and rotated.
pub fn orders(entries: &[Entry]) -> Vec<Vec<Entry>> {
    if entries.len() > 4 {
        let mut orders = vec![entries.to_vec()];
        orders.push(entries.iter().rev().cloned().collect());
        let mut rotated = entries.to_vec();
        for _ in 1..entries.len() {
            rotated.rotate_left(1);
            orders.push(rotated.clone());
        }
        return orders;
    }
    let Some((first, rest)) = entries.split_first() else {
        return vec![Vec::new()];
    };
    let mut out = Vec::new();
    for order in orders(rest) {
        for at in 0..=order.len() {
            let mut order = order.clone();
            order.insert(at, first.clone());
            out.push(order);
        }
    }
    out.sort_by_key(|order| order != entries);
    out
}

/// Collects what failed where, so that one run tells all.
#[derive(Default)]
struct Failures(Vec<(String, String, Vec<String>)>);

impl Failures {
    fn add(&mut self, what: &str, setting: Setting, run: impl FnOnce() -> Result<(), String>) {
        let failed = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => return,
            Ok(Err(text)) => text,
            Err(panic) => format!("panicked: {}", message(&panic)),
        };
        let same = self.0.iter_mut().find(|(case, text, _)| case == what && *text == failed);
        match same {
            Some((_, _, settings)) => settings.push(setting.to_string()),
            None => self.0.push((what.into(), failed, vec![setting.to_string()])),
        }
    }

    #[track_caller]
    fn report(self) {
        if self.0.is_empty() {
            return;
        }
        let mut text = format!("{} findings", self.0.len());
        for (what, failed, settings) in self.0 {
            text += &format!("\n{what}\n{failed}\n  in: {}", settings.join("; "));
        }
        panic!("{text}");
    }
}

pub fn message(panic: &Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast_ref::<String>() {
        Some(text) => text.clone(),
        None => (*panic.downcast_ref::<&str>().unwrap_or(&"?")).to_owned(),
    }
}
