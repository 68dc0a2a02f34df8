// SPDX-License-Identifier: Apache-2.0
//! How proptest is run.

use proptest::test_runner::{Config, RngSeed};

use crate::common::needs;

pub fn config() -> Config {
    let mut config =
        Config { failure_persistence: None, max_shrink_iters: 4096, ..Config::default() };
    if needs::ci() {
        // What fails there must fail for whoever looks at it. By hand, each run tries others.
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}
