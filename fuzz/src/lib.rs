// SPDX-License-Identifier: Apache-2.0
//! What the fuzz targets share.

pub mod guard;
pub mod layers;
pub mod lower;
pub mod records;

#[expect(clippy::new_without_default, reason = "nobody but the tests sees it")]
#[path = "../../tests/common/mod.rs"]
pub mod common;
