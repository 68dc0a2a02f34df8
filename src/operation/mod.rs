// SPDX-License-Identifier: Apache-2.0
//! What every operation shares.

pub(crate) mod callbacks;
pub(crate) mod entries;
