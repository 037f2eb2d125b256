//! What the sections of all files of an image tell, put together.

use std::sync::OnceLock;

use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult, Finding, Span, code};

use super::disk::{Group, lost_sentence};
use super::segment::{Ending, Kind, Section, Sections, Segment, open_segment};
use super::shape::{ReadErrors, Shape, read_digest, read_errors, read_hash};
use super::table::Table;
use crate::format::RecordedHash;
use crate::locator::Located;

/// LIMIT: sections of all files. An image of 64 TiB has 400,000.
const MAX_SECTIONS: u32 = 1 << 19;

/// LIMIT: tables of all files. An image of 64 TiB has 131,072.
const MAX_GROUPS: usize = 1 << 17;

/// What is known of an image when the sections of all its files were looked at.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) segments: Vec<Segment>,
    pub(super) groups: Vec<Group>,
    pub(super) hashes: Vec<RecordedHash>,
    pub(super) findings: Vec<Finding>,
    shape: Option<Shape>,
    /// Why the first section with the shape cannot be used.
    shape_error: Option<BlockError>,
    /// How many sections were looked at.
    sections: u32,
    /// The index of the group after that chunks are lost, how many there were is not known.
    gaps: Vec<usize>,
    /// Whether the last file that was looked at is the last one of the image.
    is_done: bool,
    errors: ReadErrors,
}

impl Walk {
    /// Looks at all files of the image whose first one is `file`.
    ///
    /// # Errors
    /// `MissingPart` if a file is missing or of another image, `Corrupt` if nothing tells the shape.
    pub(super) fn of(file: &Located) -> BlockResult<(Self, Shape)> {
        let mut walk = Self::default();
        let first = Segment { device: file.device.clone(), name: file.name.clone() };
        walk.segments.push(first);
        for number in 1.. {
            let ending = walk.segment()?;
            let next: u32 = number;
            let next = next.saturating_add(1);
            match ending {
                Ending::Done => {
                    walk.is_done = true;
                    break;
                }
                Ending::Next => walk.segments.push(open_segment(file, next)?),
                Ending::Cut(at) | Ending::Broken(at) => {
                    walk.note_end(&ending, at);
                    walk.gaps.push(walk.groups.len());
                    // What comes after may still be of use.
                    match open_segment(file, next) {
                        Ok(segment) => walk.segments.push(segment),
                        Err(_) => break,
                    }
                }
            }
        }
        let shape = walk.shape.take();
        let Some(shape) = shape else {
            let none =
                || BlockError::new(BlockErrorKind::Corrupt, "EWF image has no volume section");
            return Err(walk.shape_error.take().unwrap_or_else(none));
        };
        if walk.shape_error.take().is_some() {
            let line = "the section that tells the shape of the disk is damaged; its copy is used";
            walk.findings.push(Finding::warning(code::EWF_COPY_USED, line));
        }
        walk.number_chunks(&shape);
        walk.note_errors(&shape);
        Ok((walk, shape))
    }

    /// The findings are about the file that was opened last.
    fn note(&mut self, finding: Finding) {
        let number = self.segments.len();
        self.findings.push(match self.segments.last() {
            Some(segment) if number > 1 => finding.within(&format!("segment {}", segment.name)),
            _ => finding,
        });
    }

    fn note_end(&mut self, ending: &Ending, at: u64) {
        self.note(match ending {
            Ending::Cut(_) => {
                let line =
                    format!("file ends early, at {at} bytes; what its last tables tell of is lost");
                Finding::error(code::EWF_CUT_SHORT, line)
            }
            _ => {
                let line = "a section is damaged, and what comes after it in the file is not found";
                Finding::error(code::EWF_SECTION_DAMAGED, line).at(at)
            }
        });
    }

    /// Looks at the sections of the last file.
    fn segment(&mut self) -> BlockResult<Ending> {
        let index = self.segments.len().saturating_sub(1);
        let Some(segment) = self.segments.last() else { return Ok(Ending::Done) };
        let device = segment.device.clone();
        let file: &dyn BlockDevice = &*device;
        let mut sections = Sections::of(file);
        let mut place = InFile { index, ..InFile::default() };
        while let Some(section) = sections.next()? {
            self.sections = self.sections.saturating_add(1);
            if self.sections > MAX_SECTIONS || self.groups.len() > MAX_GROUPS {
                let line = "EWF image has more sections than are looked at";
                return Err(BlockError::unsupported(line));
            }
            if !section.is_sure {
                let line = "the size of a section and the place of the next one contradict each \
                            other; the place is used";
                let finding = Finding::warning(code::EWF_SECTION_DAMAGED, line);
                self.note(finding.at(section.start));
            }
            self.section(file, &section, &mut place)?;
        }
        self.end_table(&mut place);
        Ok(sections.ending.unwrap_or(Ending::Done))
    }

    fn section(
        &mut self,
        file: &dyn BlockDevice,
        section: &Section,
        place: &mut InFile,
    ) -> BlockResult<()> {
        if section.kind != Kind::Table2 {
            self.end_table(place);
        }
        match section.kind {
            Kind::Volume | Kind::Data => self.shape(file, section, place.index)?,
            Kind::Sectors => place.sectors = Span::between(section.start, section.end),
            Kind::Table => {
                place.chunks = place.sectors.take();
                match Table::read(file, section, place.chunks) {
                    Ok(table) => self.add_group(table, place.index),
                    Err(error) => place.bad_table = Some(only_corrupt(error)?),
                }
            }
            Kind::Table2 => match Table::read(file, section, place.chunks) {
                Ok(table) if place.bad_table.take().is_some() => {
                    let line = "a table of chunks is damaged; its copy is used";
                    self.note(Finding::warning(code::EWF_COPY_USED, line));
                    self.add_group(table, place.index);
                }
                Ok(table) => self.add_copy(table, place.index),
                Err(error) => {
                    only_corrupt(error)?;
                    let line = "the copy of a table of chunks is damaged; the table is used";
                    self.note(Finding::warning(code::EWF_COPY_USED, line));
                }
            },
            Kind::Digest | Kind::Hash => {
                let is_digest = section.kind == Kind::Digest;
                let read = if is_digest { read_digest } else { read_hash };
                match read(file, section) {
                    Ok(hashes) => self.add_hashes(hashes),
                    Err(error) => self.note_damage(error)?,
                }
            }
            Kind::Error2 => match read_errors(file, section) {
                Ok(errors) => self.errors = errors,
                Err(error) => self.note_damage(error)?,
            },
            Kind::Next | Kind::Done | Kind::Other => {}
        }
        Ok(())
    }

    /// A section that the bytes of the disk do not need is damaged.
    fn note_damage(&mut self, error: BlockError) -> BlockResult<()> {
        let error = only_corrupt(error)?;
        let finding = Finding::warning(code::EWF_SECTION_DAMAGED, error.message().to_owned());
        self.note(match error.position() {
            Some(at) => finding.at(at),
            None => finding,
        });
        Ok(())
    }

    /// A table that is damaged has no copy after it.
    fn end_table(&mut self, place: &mut InFile) {
        if place.bad_table.take().is_some() {
            self.gaps.push(self.groups.len());
        }
    }

    fn shape(
        &mut self,
        file: &dyn BlockDevice,
        section: &Section,
        index: usize,
    ) -> BlockResult<()> {
        let found = match Shape::read(file, section) {
            Ok(found) => found,
            Err(error) => {
                let error = only_corrupt(error)?;
                if self.shape.is_none() {
                    self.shape_error.get_or_insert(error);
                }
                return Ok(());
            }
        };
        match self.shape {
            None => self.shape = Some(found),
            Some(shape) if shape.goes_with(&found) => {}
            Some(_) if index > 0 => {
                let line = "file is of another image than the first one";
                let name = self.segments.last().map(|segment| segment.name.clone());
                return Err(BlockError::missing(line).within(&name.unwrap_or_default()));
            }
            Some(_) => {
                let line = "the image tells the shape of the disk twice, and not the same; the \
                            first is used";
                self.note(Finding::warning(code::EWF_SECTION_DAMAGED, line).at(section.start));
            }
        }
        Ok(())
    }

    fn add_group(&mut self, table: Table, segment: usize) {
        let (count, tables) = (table.count, vec![table]);
        self.groups.push(Group { first: 0, count, segment, tables, state: OnceLock::new() });
    }

    /// `table` is the copy of the last one.
    fn add_copy(&mut self, table: Table, segment: usize) {
        let last = self.groups.last_mut().filter(|group| group.segment == segment);
        match last.filter(|group| group.count == table.count && group.tables.len() == 1) {
            Some(group) => group.tables.push(table),
            None => {
                let line = "a table of chunks and its copy have different numbers of entries; the \
                            table is used";
                self.note(Finding::warning(code::EWF_SECTION_DAMAGED, line));
            }
        }
    }

    /// Later hashes of the same kind are those that count.
    fn add_hashes(&mut self, hashes: Vec<RecordedHash>) {
        for hash in hashes {
            self.hashes.retain(|known| known.algorithm != hash.algorithm);
            self.hashes.push(hash);
        }
    }

    /// Gives each group the number of its first chunk.
    ///
    /// Where tables are lost in one place, and the end of the image is there, the rest of it tells how
    /// many chunks they had. Else nothing is known of the chunks past the first such place.
    fn number_chunks(&mut self, shape: &Shape) {
        let wanted = shape.chunks();
        let known = self.groups.iter().fold(0_u64, |sum, group| sum.saturating_add(group.count));
        let lost = wanted.saturating_sub(known);
        self.gaps.dedup();
        let is_at_end = self.gaps.first().is_none_or(|gap| *gap >= self.groups.len());
        let is_certain = is_at_end || (self.gaps.len() == 1 && self.is_done && known <= wanted);
        match self.gaps.first() {
            Some(gap) if is_certain && lost > 0 => {
                let segment = self.groups.get(*gap).map_or(0, |group| group.segment);
                let (count, tables) = (lost, Vec::new());
                let group = Group { first: 0, count, segment, tables, state: OnceLock::new() };
                self.groups.insert(*gap, group);
            }
            Some(gap) if !is_certain => self.groups.truncate(*gap),
            _ => {}
        }
        let mut next: u64 = 0;
        for group in &mut self.groups {
            group.first = next;
            next = next.saturating_add(group.count);
        }
        let gone = self.groups.iter().filter(|group| group.tables.is_empty());
        let lines: Vec<String> = gone.map(|group| lost_sentence(group, shape.chunk_size)).collect();
        for line in lines {
            self.findings.push(Finding::error(code::EWF_TABLE_LOST, line));
        }
        if next < wanted {
            let bytes = next.saturating_mul(shape.chunk_size);
            let size = shape.size;
            let line = format!(
                "the image has chunks for {bytes} of {size} bytes; reads of the rest are errors"
            );
            self.findings.push(Finding::error(code::EWF_CUT_SHORT, line));
        }
        if next > wanted {
            let line = format!("the image has {next} chunks, and {wanted} are the whole disk");
            self.findings.push(Finding::warning(code::EWF_SECTION_DAMAGED, line));
        }
    }

    fn note_errors(&mut self, shape: &Shape) {
        let ReadErrors { runs: runs @ 1.., sectors, first } = self.errors else { return };
        let at = first.saturating_mul(shape.sector_size);
        let line = format!(
            "{sectors} sectors in {runs} places could not be read when the image was made, and are \
             zeros; the first is at byte {at} of the disk"
        );
        self.findings.push(Finding::warning(code::EWF_READ_ERRORS, line));
    }
}

/// Where in a file the walk is.
#[derive(Default)]
struct InFile {
    /// The index of the file.
    index: usize,
    /// The chunks that no table was seen of.
    sectors: Option<Span>,
    /// The chunks of the last table, if they are in a section of their own.
    chunks: Option<Span>,
    /// Why the last table cannot be used, of which no copy was seen.
    bad_table: Option<BlockError>,
}

/// `error` if it tells of damage.
fn only_corrupt(error: BlockError) -> BlockResult<BlockError> {
    if error.kind() == BlockErrorKind::Corrupt { Ok(error) } else { Err(error) }
}
