// SPDX-License-Identifier: Apache-2.0
//! Real layers by real tools, and what to compare them with.

pub mod archives;
pub mod images;
pub mod tools;
pub mod tree;
pub mod unpacked;
