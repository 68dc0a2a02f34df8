// SPDX-License-Identifier: Apache-2.0
//! Interrupts end an unpack in order.

use std::io;
use std::thread;

use ocilayer::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// A token that SIGINT, SIGTERM and SIGHUP cancel. The second signal does what it does by default,
/// so that an unpack stuck in the kernel, say on a dead network file system, can be left.
pub fn cancel_on_interrupt() -> io::Result<Cancel> {
    let cancel = Cancel::new()?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let token = cancel.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if token.is_cancelled() {
                // It only fails for signals that cannot be caught.
                let _ = emulate_default_handler(signal);
            }
            token.cancel();
        }
    })?;
    Ok(cancel)
}
