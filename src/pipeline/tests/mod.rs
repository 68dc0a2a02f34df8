// SPDX-License-Identifier: Apache-2.0

#[cfg(not(shuttle))]
mod parallel;
#[cfg(shuttle)]
mod schedules;
#[cfg(not(shuttle))]
mod stream;
#[cfg(not(shuttle))]
mod workers;
