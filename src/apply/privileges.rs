// SPDX-License-Identifier: Apache-2.0
//! What the kernel allows this process, looked at when it has refused something.

use crate::layer::xattrs::CAPABILITY;

/// capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;
pub(super) const CAP_MKNOD: u32 = 27;
const CAP_SETFCAP: u32 = 31;

/// Of this thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Privileges {
    user_namespace: bool,
    effective: u64,
}

impl Privileges {
    pub(crate) fn of_process() -> Privileges {
        Privileges { user_namespace: in_user_namespace(), effective: effective() }
    }

    pub(super) fn in_user_namespace(self) -> bool {
        self.user_namespace
    }

    /// Whether the first user namespace does not grant this one: then a refusal is no fault of the file
    /// system.
    pub(super) fn lacks(self, capability: u32) -> bool {
        self.user_namespace || self.effective & (1 << capability) == 0
    }

    /// Whether it takes more to set an xattr of this name: distributions sign each file for IMA, and
    /// nobody but root can keep that.
    pub(crate) fn lack_for_xattr(self, name: &[u8]) -> bool {
        let needed = if name == CAPABILITY { CAP_SETFCAP } else { CAP_SYS_ADMIN };
        name.starts_with(b"security.") && self.lacks(needed)
    }
}

/// Whether ids are mapped: only the initial namespace maps all of them to themselves
/// (user_namespaces(7)).
fn in_user_namespace() -> bool {
    let identity = ["0", "0", "4294967295"];
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_whitespace().eq(identity))
}

/// All, where it cannot be told: then a refusal is an error, as for root.
fn effective() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
}
