// SPDX-License-Identifier: Apache-2.0
//! Bytes of names as people read them: in quotes, with what does not print escaped, so that a
//! hostile name cannot write to a terminal or forge a line in a log.

use std::fmt;

/// Bytes of a name that are shown. A name of a megabyte must not become a line of one.
const SHOWN_MAX: usize = 1_024;

/// Shows bytes as text in quotes, by `{}` and by `{:?}`.
pub(crate) struct Escaped<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, cut) = self.parts();
        write!(f, "\"{}\"", head.escape_ascii())?;
        match cut {
            0 => Ok(()),
            more => write!(f, " and {more} bytes more"),
        }
    }
}

impl<'b> Escaped<'b> {
    /// What is shown, and how many bytes are not.
    fn parts(&self) -> (&'b [u8], usize) {
        let (head, cut) = self.0.split_at(self.0.len().min(SHOWN_MAX));
        (head, cut.len())
    }

    /// The same without quotes, where other words tell what it is.
    pub(crate) fn unquoted(&self) -> String {
        let (head, cut) = self.parts();
        match cut {
            0 => head.escape_ascii().to_string(),
            more => format!("{} and {more} bytes more", head.escape_ascii()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_say_so() {
        let name = vec![b'a'; 440_000];
        let shown = Escaped(&name).to_string();
        assert!(shown.ends_with("aaa\" and 438976 bytes more"), "{shown}");
        assert!(shown.len() < 1_100);
        assert_eq!(Escaped(&name[..SHOWN_MAX]).to_string().len(), SHOWN_MAX + 2);
    }
}
