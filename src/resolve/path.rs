// SPDX-License-Identifier: Apache-2.0
//! Names as proof: what passed here has no `/`, no NUL, and is neither `.` nor `..`.

/// NAME_MAX of every Linux file system.
pub(crate) const COMPONENT_MAX: usize = 255;

/// One component of a path, safe to hand to a system call next to a directory descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Component<'n>(&'n [u8]);

impl<'n> Component<'n> {
    pub(crate) fn new(name: &'n [u8]) -> Option<Component<'n>> {
        let special = matches!(name, b"" | b"." | b"..");
        let unsafe_byte = name.iter().any(|byte| matches!(byte, b'/' | 0));
        (!special && !unsafe_byte && name.len() <= COMPONENT_MAX).then_some(Component(name))
    }

    pub(crate) fn as_bytes(self) -> &'n [u8] {
        self.0
    }
}

/// A cleaned name below the root: components joined by single slashes; empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CleanPath(Vec<u8>);

/// Why a name has no place below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unclean {
    /// More `..` than components before them.
    Escapes,
    /// A component that no file system can hold.
    TooLong(usize),
    Nul,
}

/// What `..` means where there is nothing left to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AboveRoot {
    Refuse,
    /// As in a chroot: the root is its own parent.
    Stay,
}

impl CleanPath {
    /// Cleans `name` into `self`, whose buffer is reused. `.`, empty components and a leading
    /// slash vanish, `..` takes the component before it along.
    pub(crate) fn set(&mut self, name: &[u8], above: AboveRoot) -> Result<(), Unclean> {
        self.0.clear();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." if self.0.is_empty() && above == AboveRoot::Refuse => {
                    return Err(Unclean::Escapes);
                }
                b".." => self.0.truncate(self.split().0.len()),
                part if part.len() > COMPONENT_MAX => return Err(Unclean::TooLong(part.len())),
                part if part.contains(&0) => return Err(Unclean::Nul),
                part => {
                    if !self.0.is_empty() {
                        self.0.push(b'/');
                    }
                    self.0.extend_from_slice(part);
                }
            }
        }
        Ok(())
    }

    /// Parent directory and last component; none for the root.
    pub(crate) fn parent_and_name(&self) -> Option<(&[u8], Component<'_>)> {
        let (parent, name) = self.split();
        Some((parent, Component::new(name)?))
    }

    fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        for (name, refuse, stay) in [
            ("", Ok(""), Ok("")),
            ("./", Ok(""), Ok("")),
            ("/", Ok(""), Ok("")),
            ("/etc//passwd", Ok("etc/passwd"), Ok("etc/passwd")),
            ("./a/./b/", Ok("a/b"), Ok("a/b")),
            ("a/../b", Ok("b"), Ok("b")),
            ("a/b/..", Ok("a"), Ok("a")),
            ("..", Err(Unclean::Escapes), Ok("")),
            ("a/../../b", Err(Unclean::Escapes), Ok("b")),
            ("../../etc/shadow", Err(Unclean::Escapes), Ok("etc/shadow")),
            ("...", Ok("..."), Ok("...")),
            ("a\0b", Err(Unclean::Nul), Err(Unclean::Nul)),
        ] {
            for (above, expected) in [(AboveRoot::Refuse, refuse), (AboveRoot::Stay, stay)] {
                let mut path = CleanPath::default();
                let got = path.set(name.as_bytes(), above).map(|()| &path.0[..]);
                assert_eq!(got, expected.map(str::as_bytes), "{name:?} {above:?}");
            }
        }
    }

    #[test]
    fn a_component_longer_than_the_file_system_holds_is_refused() {
        let mut path = CleanPath::default();
        assert_eq!(path.set(&[b'x'; 255], AboveRoot::Refuse), Ok(()));
        assert_eq!(path.set(&[b'x'; 256], AboveRoot::Refuse), Err(Unclean::TooLong(256)));
    }

    #[test]
    fn a_component_proves_that_it_is_one() {
        for name in ["", ".", "..", "a/b", "/", "a\0"] {
            assert_eq!(Component::new(name.as_bytes()), None, "{name:?}");
        }
        assert!(Component::new(b"..a").is_some());
    }
}
