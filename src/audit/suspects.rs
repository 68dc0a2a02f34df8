// SPDX-License-Identifier: Apache-2.0
//! Layers' directories without the layers: marks that repeat one of a lower layer.

use super::damage::DamageKind;
use super::sender::DamageSender;
use super::stack::{Stack, bytes, is_dir};
use crate::error::Result;
use crate::layer::joined;

pub(super) fn run(stack: &mut Stack, damages: &mut DamageSender<'_>) -> Result<()> {
    for level in 1..stack.len() {
        let mut todo = vec![Vec::new()];
        while let Some(dir) = todo.pop() {
            for (name, stat) in stack.names(level, &dir)? {
                if !is_dir(&stat) {
                    continue;
                }
                let path = joined(&dir, &name);
                if stack.is_marked(level, &path)? {
                    for lower in (0..level).rev() {
                        if stack.is_marked(lower, &path)? {
                            damages.wrong.marks.push((level, path.clone()));
                            let place = bytes(stack.path(lower));
                            damages.note(DamageKind::Suspect, stack.path(level), &path, &place)?;
                            break;
                        }
                    }
                }
                todo.push(path);
            }
        }
    }
    Ok(())
}
