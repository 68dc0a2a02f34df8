// SPDX-License-Identifier: Apache-2.0
//! What the headers before an entry say about it, and how that and its own header become one.

use super::entry::{Entry, Kind, Time};
use super::error::{NameFault, SparseFault, TarError};
use super::header::{Block, Extension, Header, NAME, Role, text};
use super::number;
use super::pax::{self, MapPlace, Records, recycle};
use super::sparse::{GNU_SIZE, Map};

/// Extension headers for one entry, all together. Go reads this much of one PAX header; what a
/// file system can hold of names and xattrs stays far below.
const EXTENSIONS_MAX: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Pending {
    global: Vec<Vec<u8>>,
    own: Records,
    long_name: Vec<u8>,
    long_link: Vec<u8>,
    has_pax: bool,
    /// Of all extension headers since the last entry, global ones too.
    bytes: u64,
}

/// What an entry has in the archive after its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// Bytes of data, the map of a sparse file of version 1.0 included.
    pub(super) size: u64,
    pub(super) map: MapState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MapState {
    /// Complete, or a plain file without any.
    Read,
    /// Goes on in the next block, which is not part of the data.
    GnuBlocks,
    /// Stands in front of the data and is part of it.
    InData,
}

impl Pending {
    /// Headers were read that are about the entry to follow.
    fn needs_entry(&self) -> bool {
        self.has_pax || !self.long_name.is_empty() || !self.long_link.is_empty()
    }

    /// Keys of records of the last global header that would say something of entries.
    pub(super) fn global_records(&self) -> &[Vec<u8>] {
        &self.global
    }

    /// The best that is known of the name of the entry to come, for errors, when the extension header
    /// in `block` could not be read.
    pub(super) fn name(&self, block: &Block, to: &mut Vec<u8>) {
        let known = [&self.own.path, &self.long_name].into_iter().find(|name| !name.is_empty());
        to.clear();
        to.extend_from_slice(known.map_or(text(&block[NAME]), Vec::as_slice));
    }

    /// Before an extension header is read: its size, if it may be there at all.
    pub(super) fn expect(&mut self, header: Header, what: Extension) -> Result<u64, TarError> {
        let offset = header.offset;
        let second = match what {
            // Of two the last counts, to Go, GNU tar and bsdtar.
            Extension::LongName | Extension::LongLink => None,
            Extension::Pax if self.has_pax => Some("PAX header"),
            Extension::PaxGlobal if self.needs_entry() => {
                return Err(TarError::MisplacedGlobal { offset });
            }
            _ => None,
        };
        if let Some(what) = second {
            return Err(TarError::RepeatedExtension { offset, what });
        }
        let size = header.size()?;
        let got = self.bytes.saturating_add(size);
        if got > EXTENSIONS_MAX {
            return Err(TarError::ExtensionsTooLong { offset, got, limit: EXTENSIONS_MAX });
        }
        self.bytes = got;
        Ok(size)
    }

    /// The data of an extension header, complete.
    pub(super) fn read(
        &mut self,
        what: Extension,
        body: &[u8],
        offset: u64,
    ) -> Result<(), TarError> {
        let pax = |fault| TarError::Pax { offset, fault };
        match what {
            Extension::Pax => {
                self.has_pax = true;
                self.own.read(body).map_err(pax)
            }
            Extension::PaxGlobal => pax::global(body, &mut self.global).map_err(pax),
            Extension::LongName => long(body, &mut self.long_name)
                .map_err(|fault| TarError::Name { offset, field: "long name", fault }),
            Extension::LongLink => long(body, &mut self.long_link)
                .map_err(|fault| TarError::Name { offset, field: "long link target", fault }),
        }
    }

    /// Fills `entry` and `map` from everything known. A PAX record or a GNU long name overrides the
    /// header; a field of the header that is overridden is not even parsed, since writers put
    /// anything there that fits.
    pub(super) fn fill(
        &mut self,
        header: Header,
        role: Role,
        entry: &mut Entry,
        map: &mut Map,
    ) -> Result<Content, TarError> {
        let offset = header.offset;
        let own = &self.own;
        let kind = if let Role::Entry(kind) = role { kind } else { Kind::File };

        agree(&self.long_name, &own.path, "long name", offset)?;
        let longest = [&own.sparse.name, &own.path, &self.long_name];
        match longest.into_iter().find(|name| !name.is_empty()) {
            Some(name) => entry.name.extend_from_slice(name),
            None => header.name(&mut entry.name),
        }
        // A directory without a name is the root to containerd and to moby.
        if entry.name.is_empty() && kind != Kind::Directory {
            return Err(TarError::Name { offset, field: "name", fault: NameFault::Empty });
        }
        if matches!(kind, Kind::Symlink | Kind::Hardlink) {
            agree(&self.long_link, &own.link, "long link target", offset)?;
            let link = [&own.link, &self.long_link].into_iter().find(|link| !link.is_empty());
            entry.link.extend_from_slice(link.map_or(header.link(), Vec::as_slice));
            if entry.link.is_empty() {
                let field = "link target";
                return Err(TarError::Name { offset, field, fault: NameFault::Empty });
            }
        }

        entry.kind = kind;
        entry.mode = header.mode()?;
        entry.uid = own.uid.map_or_else(|| header.uid(), Ok)?;
        entry.gid = own.gid.map_or_else(|| header.gid(), Ok)?;
        let whole = || Ok(Time { seconds: header.mtime()?, nanoseconds: 0 });
        entry.mtime = own.mtime.map_or_else(whole, Ok)?;
        entry.atime = own.atime;
        entry.device = match kind {
            Kind::CharDevice | Kind::BlockDevice => (
                own.major.map_or_else(|| header.major(), Ok)?,
                own.minor.map_or_else(|| header.minor(), Ok)?,
            ),
            _ => (0, 0),
        };
        self.xattrs(entry);
        entry.ignored.clear();
        entry.ignored.append(&mut self.own.ignored);
        let stored = self.content(header, role, entry, map)?;
        self.own.clear();
        self.long_name.clear();
        self.long_link.clear();
        (self.has_pax, self.bytes) = (false, 0);
        Ok(stored)
    }

    fn xattrs(&mut self, entry: &mut Entry) {
        let xattrs = &mut entry.xattrs;
        for (at, xattr) in self.own.xattrs.iter().enumerate() {
            // The entry before left its memory here.
            if at == xattrs.len() {
                xattrs.push(Default::default());
            }
            let (name, value) = &mut xattrs[at];
            recycle(name);
            name.extend_from_slice(&xattr.name);
            recycle(value);
            value.extend_from_slice(&xattr.value);
        }
        xattrs.truncate(self.own.xattrs.len());
    }

    fn content(
        &mut self,
        header: Header,
        role: Role,
        entry: &mut Entry,
        map: &mut Map,
    ) -> Result<Content, TarError> {
        let offset = header.offset;
        let sparse = |fault| TarError::Sparse { offset, fault };
        let records = &mut self.own.sparse;
        map.clear();
        entry.size = 0;
        if records.present && role != Role::Entry(Kind::File) {
            return Err(sparse(SparseFault::NotAFile));
        }
        // Links, directories, devices and FIFOs have no data, whatever their size says: POSIX
        // rules it out (but for hardlinks under `pax -o linkdata`), and archives that Go wrote
        // have such sizes without data. GNU tar would skip data here, and so misses the headers
        // in it that Go, and this parser, see.
        if entry.kind != Kind::File {
            return Ok(Content { size: 0, map: MapState::Read });
        }
        let size = self.own.size.map_or_else(|| header.size(), Ok)?;
        let mut stored = Content { size, map: MapState::Read };
        entry.size = size;
        if role == Role::GnuSparse {
            if !header.is_gnu() {
                return Err(sparse(SparseFault::NotGnu));
            }
            entry.size = header.number("size", GNU_SIZE, number::size)?;
            if map.gnu_header(header.block()).map_err(sparse)? {
                stored.map = MapState::GnuBlocks;
            }
            entry.sparse = Some(Vec::new());
        } else if records.present {
            let (size, place) = records.settle().map_err(sparse)?;
            entry.size = size;
            match place {
                MapPlace::InData => stored.map = MapState::InData,
                MapPlace::InRecords => std::mem::swap(map, &mut records.map),
            }
            entry.sparse = Some(Vec::new());
        } else if entry.name.ends_with(b"/") {
            // How tars wrote directories before there was a type for them. With data, GNU tar
            // would skip it, and Go would take it for the next header.
            if size != 0 {
                return Err(TarError::FileNamedAsDirectory { offset, size });
            }
            entry.kind = Kind::Directory;
        }
        Ok(stored)
    }
}

/// The text of a GNU long name, which ends at a NUL to every reader, whatever stands behind.
fn long(body: &[u8], to: &mut Vec<u8>) -> Result<(), NameFault> {
    let name = text(body);
    if name.is_empty() {
        return Err(NameFault::Empty);
    }
    to.clear();
    to.extend_from_slice(name);
    Ok(())
}

/// Go lets the GNU name win, GNU tar and bsdtar the PAX record; no writer makes both.
fn agree(gnu: &[u8], pax: &[u8], what: &'static str, offset: u64) -> Result<(), TarError> {
    match gnu.is_empty() || pax.is_empty() || gnu == pax {
        true => Ok(()),
        false => Err(TarError::TwoNames { offset, what }),
    }
}
