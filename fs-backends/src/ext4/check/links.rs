//! Names counted, and compared with what inodes say of their number.

use std::collections::BTreeMap;

use volfold_block::{Finding, code};

use super::bits::Bits;
use crate::ext4::dir::Claims;
use crate::ext4::inode;

/// LIMIT: directories, and files with several names, that are counted; 200 MiB.
const MAX_COUNTED: usize = 1 << 22;

/// A directory, or a file that has several names.
#[derive(Default)]
struct Counted {
    /// What its inode says.
    said: u32,
    /// The names that lead to it.
    names: u32,
    /// The directories in it.
    directories: u32,
    is_directory: bool,
    /// The directory that its name is in, and what its own `..` says.
    named_in: u32,
    parent: Option<u32>,
}

/// The names of a whole volume.
#[derive(Default)]
pub(super) struct Links {
    counted: BTreeMap<u32, Counted>,
    /// Files that say they have one name.
    single: Bits,
    /// Those of them whose name was seen.
    seen: Bits,
    is_full: bool,
}

impl Links {
    /// Takes in an inode that is in use and has a name.
    pub(super) fn inode(&mut self, number: u32, links: u32, is_directory: bool) {
        if links == 1 && !is_directory {
            self.single.add(u64::from(number));
            return;
        }
        if self.counted.len() >= MAX_COUNTED {
            self.is_full = true;
            return;
        }
        let counted = Counted { said: links, is_directory, ..Counted::default() };
        self.counted.insert(number, counted);
    }

    /// Takes in a name in `directory` that leads to `number`.
    pub(super) fn name(&mut self, directory: u32, number: u32, report: &mut dyn FnMut(Finding)) {
        let mut is_directory = false;
        if let Some(counted) = self.counted.get_mut(&number) {
            counted.names = counted.names.saturating_add(1);
            counted.named_in = directory;
            is_directory = counted.is_directory;
        } else if self.single.has(u64::from(number)) {
            if self.seen.add(u64::from(number)) {
                report(links(format!("inode {number} has more than the one name that it says")));
            }
        } else if !self.is_full() {
            let line = format!(
                "a name in the directory with inode {directory} leads to inode {number}, which is \
                 not in use or damaged"
            );
            report(Finding::warning(code::EXT4_INODE_UNUSED, line));
        }
        if is_directory && let Some(counted) = self.counted.get_mut(&directory) {
            counted.directories = counted.directories.saturating_add(1);
        }
    }

    /// Takes in what the directory `number` says of itself.
    pub(super) fn claims(&mut self, number: u32, claims: Claims, report: &mut dyn FnMut(Finding)) {
        if let Some(own) = claims.own.filter(|own| *own != number) {
            let line = format!("`.` of the directory with inode {number} is inode {own}");
            report(Finding::warning(code::EXT4_DIRECTORY_CONTRADICTION, line));
        }
        if let Some(counted) = self.counted.get_mut(&number) {
            counted.parent = claims.parent;
        }
    }

    /// Compares all that was counted.
    pub(super) fn finish(&self, report: &mut dyn FnMut(Finding)) {
        for (&number, counted) in &self.counted {
            counted.compare(number, report);
        }
        for number in self.single.numbers().filter(|&number| !self.seen.has(number)) {
            report(links(format!("inode {number} is in use and has no name")));
        }
    }

    /// Whether there was more than is counted.
    pub(super) fn is_full(&self) -> bool {
        self.is_full || self.single.is_full() || self.seen.is_full()
    }
}

impl Counted {
    fn compare(&self, number: u32, report: &mut dyn FnMut(Finding)) {
        let is_root = number == inode::ROOT;
        if self.is_directory {
            let expected = self.directories.saturating_add(2);
            // 1 is what a directory says that has more than can be counted.
            if self.said != expected && self.said != 1 {
                report(links(format!(
                    "the directory with inode {number} says it has {} links, and has {expected}",
                    self.said
                )));
            }
            if self.names != u32::from(!is_root) {
                let line = format!("the directory with inode {number} has {} names", self.names);
                report(links(line));
            }
            let reached = if is_root { number } else { self.named_in };
            if let Some(parent) = self.parent.filter(|parent| self.names < 2 && *parent != reached)
            {
                let line = format!(
                    "`..` of the directory with inode {number} is inode {parent}, not {reached}"
                );
                report(Finding::warning(code::EXT4_DIRECTORY_CONTRADICTION, line));
            }
        } else if self.said != self.names {
            report(links(format!(
                "inode {number} says it has {} names, and has {}",
                self.said, self.names
            )));
        }
    }
}

fn links(line: String) -> Finding {
    Finding::warning(code::EXT4_LINK_COUNT, line)
}
