// SPDX-License-Identifier: Apache-2.0
//! Bytes of names as people read them: in quotes, with what does not print escaped, so that a
//! hostile name cannot write to a terminal or forge a line in a log.

use std::fmt;

/// Shows bytes as text, by `{}` and by `{:?}`.
pub(crate) struct Escaped<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `Debug` with these fields as text.
macro_rules! debug_with_text {
    ($type:ident { $($plain:ident),*; $($text:ident),* }) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type))
                    $(.field(stringify!($plain), &self.$plain))*
                    $(.field(stringify!($text), &$crate::escape::Escaped(&self.$text)))*
                    .finish()
            }
        }
    };
}
pub(crate) use debug_with_text;
