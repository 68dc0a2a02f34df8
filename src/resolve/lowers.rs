// SPDX-License-Identifier: Apache-2.0
//! One name in the lower layers, as overlayfs merges them.
//!
//! Whiteouts and opaque directories hide what is further down. A directory that was renamed in a
//! mount with `redirect_dir=on` says by an xattr where the layers below it have their part
//! (Documentation/filesystems/overlayfs.rst, "redirect_dir" and "Redirect"): beside it under
//! another name, or at a path from the roots of all layers further down.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Stat, fgetxattr};
use rustix::io::Errno;

use super::error::ResolveError;
use super::inode::{is, is_marked, is_whiteout, is_xwhiteout, overlay_xattrs, stat_child};
use super::path::Component;
use crate::options::Mode;

/// A lower layer, by its position: the topmost has the lowest number.
pub(crate) type Lower = u16;

/// PATH_MAX: no kernel writes a redirect that is longer.
const REDIRECT_MAX: usize = 4_096;

/// Where a layer has its part of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the same directory, under this name.
    Beside(Box<[u8]>),
    /// At this path below the layer's root.
    At(Box<[u8]>),
}

impl Place {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Place::Beside(name) => name,
            Place::At(path) => path,
        }
    }
}

/// What a name is in the lower layers.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    /// A directory: the layers that it is merged from, topmost first, and where they have it.
    Dir(Vec<(Lower, Place)>),
    /// Anything else, in this layer and under this name.
    Other(Lower, Box<Stat>),
}

/// The lower layers, and the directory of the merged view in which a name is looked up.
pub(crate) trait LowerLayers {
    fn mode(&self) -> Mode;

    /// The layer at the bottom of all: overlayfs looks at no xattr of its directories.
    fn bottom(&self) -> Lower;

    fn root(&mut self, layer: Lower) -> Result<Arc<OwnedFd>, ResolveError>;

    /// The directory as the layer has it.
    fn parent(&mut self, layer: Lower) -> Result<Arc<OwnedFd>, ResolveError>;

    fn open_child(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno>;

    /// Whether a mark at this place is taken for none.
    fn ignores_mark(&self, layer: Lower, place: &Place) -> bool;

    /// The path of the directory in the merged view, for messages.
    fn path(&self) -> Vec<u8>;
}

/// Looks `name` up in `layers`, those that have the directory it is in, topmost first.
pub(crate) fn look_in_lowers(
    lowers: &mut impl LowerLayers,
    layers: &[Lower],
    name: Component<'_>,
) -> Result<Found, ResolveError> {
    let place = Place::Beside(name.as_bytes().into());
    let mut search = Search { lowers, place, found: Vec::new(), stop: false };
    let mut layers = layers.to_vec();
    let mut next = 0;
    while !search.stop && next < layers.len() {
        let (layer, beside) = (layers[next], matches!(search.place, Place::Beside(_)));
        next += 1;
        let place = search.place.clone();
        match search.in_layer(layer)? {
            Seen::Nothing => continue,
            Seen::Dir => search.found.push((layer, place)),
            Seen::Other(stat) => return Ok(Found::Other(layer, stat)),
        }
        if beside && matches!(search.place, Place::At(_)) {
            layers = (layer + 1..=search.lowers.bottom()).collect();
            next = 0;
        }
    }
    Ok(match search.found {
        found if found.is_empty() => Found::Nothing,
        found => Found::Dir(found),
    })
}

/// What is at a place in one layer.
enum Seen {
    Nothing,
    Dir,
    Other(Box<Stat>),
}

struct Search<'l, L: LowerLayers> {
    lowers: &'l mut L,
    /// Where the next layer has it.
    place: Place,
    found: Vec<(Lower, Place)>,
    /// Nothing of the layers further down shows.
    stop: bool,
}

impl<L: LowerLayers> Search<'_, L> {
    fn in_layer(&mut self, layer: Lower) -> Result<Seen, ResolveError> {
        let path = match &self.place {
            Place::Beside(name) => {
                let (at, name) = (self.lowers.parent(layer)?, name.clone());
                return Ok(self.component(layer, at.as_fd(), (&[], &name, &[]))?.0);
            }
            Place::At(path) => path.clone(),
        };
        let mut at = self.lowers.root(layer)?;
        let mut start = 0;
        loop {
            let end = path[start..].iter().position(|byte| *byte == b'/');
            let end = end.map_or(path.len(), |length| start + length);
            // What a redirect on the way replaces is what led here, not what is left.
            let before =
                &self.place.as_bytes()[..self.place.as_bytes().len() - (path.len() - start)];
            let before = before.to_vec();
            let (seen, dir) =
                self.component(layer, at.as_fd(), (&before, &path[start..end], &path[end..]))?;
            match (seen, dir) {
                (Seen::Dir, Some(dir)) if end < path.len() => at = Arc::new(dir),
                (seen, _) => return Ok(seen),
            }
            start = end + 1;
        }
    }

    /// One component of the place; `after` begins with the slash behind it, if any.
    fn component(
        &mut self,
        layer: Lower,
        at: BorrowedFd<'_>,
        (before, name, after): (&[u8], &[u8], &[u8]),
    ) -> Result<(Seen, Option<OwnedFd>), ResolveError> {
        let component = Component::new(name).expect("a redirect was looked at when it was read");
        let stat = match stat_child(at, component) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok((Seen::Nothing, None)),
            Err(errno) => return Err(self.failed("fstatat", errno)),
        };
        if !is(&stat, FileType::Directory) {
            // A whiteout or not, it hides the layers below, also below a merged directory.
            self.stop = true;
            let shows = self.found.is_empty() && after.is_empty();
            let whiteout = |this: &Self| -> Result<bool, ResolveError> {
                let other = is_xwhiteout(at, component, &stat, this.lowers.mode());
                Ok(is_whiteout(&stat) || other.map_err(|errno| this.failed("fgetxattr", errno))?)
            };
            return Ok(match shows && !whiteout(self)? {
                true => (Seen::Other(Box::new(stat)), None),
                false => (Seen::Nothing, None),
            });
        }
        let bottom = layer == self.lowers.bottom();
        if bottom && after.is_empty() {
            return Ok((Seen::Dir, None));
        }
        let dir = self.lowers.open_child(at, name).map_err(|errno| self.failed("openat", errno))?;
        if !bottom {
            let mark = overlay_xattrs(self.lowers.mode()).opaque;
            let marked =
                is_marked(dir.as_fd(), mark).map_err(|errno| self.failed("fgetxattr", errno))?;
            let ignored = after.is_empty() && self.lowers.ignores_mark(layer, &self.place);
            if marked && !ignored {
                self.stop = true;
            } else if let Some(redirect) = self.redirect(dir.as_fd())? {
                self.follow(redirect, before, after);
            }
        }
        Ok((Seen::Dir, Some(dir)))
    }

    fn follow(&mut self, redirect: Place, before: &[u8], after: &[u8]) {
        self.place = match (redirect, &self.place) {
            (Place::At(path), _) => {
                // It leads past an opaque directory further up, too.
                self.stop = false;
                Place::At([&path, after].concat().into())
            }
            (Place::Beside(name), Place::At(_)) => {
                Place::At([before, &name, after].concat().into())
            }
            (redirect, Place::Beside(_)) => redirect,
        };
    }

    /// Where the layers below have their part of a directory, if not at its own place.
    fn redirect(&self, dir: BorrowedFd<'_>) -> Result<Option<Place>, ResolveError> {
        let xattr = overlay_xattrs(self.lowers.mode()).redirect;
        let mut value = [0; REDIRECT_MAX];
        let value = match fgetxattr(dir, xattr, &mut value[..]) {
            Ok(length) => &value[..length],
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) => return Err(self.failed(NOT_UNDERSTOOD, Errno::NAMETOOLONG)),
            Err(errno) => return Err(self.failed("fgetxattr", errno)),
        };
        if self.lowers.mode() == Mode::OverlayUserxattr {
            return Err(self.failed(NOT_FOLLOWED, Errno::PERM));
        }
        let (place, names) = match value {
            [b'/', path @ ..] => (Place::At(path.into()), path),
            name => (Place::Beside(name.into()), name),
        };
        let mut components = names.split(|byte| *byte == b'/');
        let one = matches!(place, Place::Beside(_)) && names.contains(&b'/');
        match components.all(|name| Component::new(name).is_some()) && !one {
            true => Ok(Some(place)),
            false => Err(self.failed(NOT_UNDERSTOOD, Errno::INVAL)),
        }
    }

    fn failed(&self, operation: &'static str, errno: Errno) -> ResolveError {
        let mut path = self.lowers.path();
        if let Place::Beside(name) = &self.place {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        } else {
            path = self.place.as_bytes().to_vec();
        }
        ResolveError::new(operation, path, errno)
    }
}

const NOT_UNDERSTOOD: &str = "follow trusted.overlay.redirect of a lower directory,";
const NOT_FOLLOWED: &str = "user.overlay.redirect, which no mount follows, on a lower directory,";
