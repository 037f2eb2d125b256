//! The search for the parent of a snapshot.
//!
//! A child notes where its parent was and what it was: its content id (VMware, QEMU), or its UUIDs
//! (VirtualBox). The place is a hint only: the files were moved, or another file bears the name by
//! now. So each file that may be meant is asked for its ids, and the first that has the right ones
//! is the parent. Without a hint each VMDK beside the child is.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::format::vmdk::descriptor::{Descriptor, ParentLink, Uuid};
use crate::format::vmdk::layer::{Head, is_vmdk};
use crate::locator::{Located, Locator};
use volfold_block::{BlockError, BlockErrorKind, BlockResult};

/// LIMIT: files that are looked at for the parents of one image that are known by an id alone.
const MAX_LOOKS: usize = 8192;

/// What messages call the parent that `link` is to.
pub(super) fn called(link: &ParentLink) -> String {
    match &link.uuid {
        Some(uuid) if link.hint.is_empty() => format!("parent {{{}}}", shown(uuid)),
        _ => format!("parent {}", link.hint.shown),
    }
}

/// An id as people write it.
fn shown(uuid: &Uuid) -> String {
    let mut text = String::new();
    for (index, digit) in uuid.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

/// The names of the files that `link` may be to, by its hint.
pub(super) fn named(link: &ParentLink, files: &dyn Locator) -> Vec<String> {
    let spellings = link.hint.spellings.iter();
    let found = spellings.filter_map(|spelling| files.candidates(spelling).ok()).flatten();
    found.map(|located| located.name).collect()
}

/// The chain of one image, as far as it is known.
pub(super) struct Parents {
    /// The names of its files, the image first.
    chain: Vec<String>,
    /// The policy of the last one.
    files: Arc<dyn Locator>,
    looks: usize,
}

impl Parents {
    /// The chain that begins with the image in `file`.
    pub(super) fn of(file: &Located) -> Self {
        Self { chain: vec![file.name.clone()], files: Arc::clone(&file.files), looks: MAX_LOOKS }
    }

    /// The next search is for the parent of `parent`.
    pub(super) fn go_to(&mut self, parent: Located) {
        self.chain.push(parent.name);
        self.files = parent.files;
    }

    pub(super) fn into_chain(self) -> Vec<String> {
        self.chain
    }

    /// Finds the file that `link` is to, and reads its descriptor.
    ///
    /// # Errors
    /// Why the likeliest file is not the parent, or that there is none.
    pub(super) fn find(&mut self, link: &ParentLink) -> BlockResult<(Located, Head)> {
        let name = called(link);
        // Of the files that were found the first one's reason, else why none was.
        let (mut rejected, mut not_found) = (None, None);
        for spelling in &link.hint.spellings {
            let candidates = match self.files.candidates(spelling) {
                Ok(candidates) => candidates,
                Err(error) => {
                    not_found.get_or_insert(error);
                    continue;
                }
            };
            for file in candidates {
                match self.check(&name, link, &file) {
                    Ok(head) => return Ok((file, head)),
                    Err(error) => drop(rejected.get_or_insert(error)),
                }
            }
        }
        if link.uuid.is_some() {
            match self.find_by_id(&name, link)? {
                Ok(found) => return Ok(found),
                Err(error) => rejected = rejected.or(error),
            }
        }
        Err(rejected.unwrap_or_else(|| match not_found {
            Some(error) if error.kind() != BlockErrorKind::MissingPart => error.within(&name),
            _ if link.uuid.is_some() => BlockError::missing(format!(
                "{name} is missing; put it beside the image, or allow its folder with --allow-path"
            )),
            _ => BlockError::missing(format!("{name} is missing; put it beside the image")),
        }))
    }

    /// Looks for the parent among all VMDKs that the child may name; else says why the one with the
    /// right id is not it.
    fn find_by_id(
        &mut self,
        name: &str,
        link: &ParentLink,
    ) -> BlockResult<Result<(Located, Head), Option<BlockError>>> {
        let files = Arc::clone(&self.files);
        let (mut found, mut rejected) = (None, None);
        let mut looks = self.looks;
        files.neighbours("vmdk", &mut |file| {
            let Some(left) = looks.checked_sub(1) else { return ControlFlow::Break(()) };
            looks = left;
            // Any other file may be damaged; that is not about this image.
            let head = Head::read(&file).ok();
            if head.is_none_or(|head| head.descriptor.uuid != link.uuid) {
                return ControlFlow::Continue(());
            }
            match self.check(name, link, &file) {
                Ok(head) => {
                    found = Some((file, head));
                    ControlFlow::Break(())
                }
                Err(error) => {
                    rejected.get_or_insert(error);
                    ControlFlow::Continue(())
                }
            }
        });
        self.looks = looks;
        match found {
            Some(found) => Ok(Ok(found)),
            None if looks == 0 => Err(BlockError::unsupported(format!(
                "{name} is not among the first {MAX_LOOKS} files; give its folder alone"
            ))),
            None => Ok(Err(rejected)),
        }
    }

    /// The descriptor of `file`, if it is the one that `link` is to.
    fn check(&self, name: &str, link: &ParentLink, file: &Located) -> BlockResult<Head> {
        if self.chain.contains(&file.name) {
            let sentence = format!("{name} is also a child of this image");
            return Err(BlockError::new(BlockErrorKind::Corrupt, sentence));
        }
        if !is_vmdk(&*file.device)? {
            let sentence = format!("{name} is no VMDK and so has no content id to check");
            return Err(BlockError::unsupported(sentence));
        }
        let head = Head::read(file).map_err(|error| error.within(name))?;
        check_ids(name, link, &head.descriptor)?;
        Ok(head)
    }
}

/// A parent that was written to after the snapshot would show wrong bytes through the holes.
fn check_ids(name: &str, link: &ParentLink, parent: &Descriptor) -> BlockResult<()> {
    let corrupt = |sentence: String| Err(BlockError::new(BlockErrorKind::Corrupt, sentence));
    if let Some(wanted) = link.cid {
        match parent.cid {
            Some(found) if found == wanted => {}
            Some(found) => {
                return corrupt(format!(
                    "{name} was changed after the snapshot: its CID is {found:08x}, not \
                     {wanted:08x}"
                ));
            }
            None => return corrupt(format!("{name} has no CID, where {wanted:08x} is wanted")),
        }
    }
    if let Some(wanted) = &link.uuid {
        match &parent.uuid {
            Some(found) if found == wanted => {}
            Some(found) => {
                let (found, wanted) = (shown(found), shown(wanted));
                return corrupt(format!("{name} has the UUID {found}, where {wanted} is wanted"));
            }
            None => {
                return corrupt(format!("{name} has no UUID, where {} is wanted", shown(wanted)));
            }
        }
    }
    match (&link.modification, &parent.modification) {
        (Some(wanted), Some(found)) if wanted != found => corrupt(format!(
            "{name} was changed after the snapshot: its modification UUID is {}, not {}",
            shown(found),
            shown(wanted)
        )),
        (Some(wanted), None) => {
            corrupt(format!("{name} has no modification UUID, where {} is wanted", shown(wanted)))
        }
        _ => Ok(()),
    }
}
