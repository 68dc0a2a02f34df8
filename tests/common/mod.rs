// SPDX-License-Identifier: Apache-2.0
//! What the integration tests share. Each test binary uses a part of it.
#![allow(dead_code)]

pub mod agree;
pub mod archive;
pub mod calls;
pub mod cases;
pub mod child;
pub mod memory;
pub mod mounted;
pub mod needs;
pub mod overlay;
pub mod random;
pub mod runner;
pub mod seccomp;
pub mod stack;
pub mod trap;
pub mod tree;
