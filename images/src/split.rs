//! Files that were cut into parts of one size: `disk.img.001`, `disk.img.002`, ...
//!
//! Specification: none; `split`, FTK Imager, 7-Zip and the Open Virtualization Format (section 7.1,
//! `chunkSize`: `disk.vmdk.000000000`) number the parts. They are put together before their format is
//! asked for, for what was cut may be an image of any format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Map, Mapped, Piece, Place,
};

use crate::locator::Located;

/// LIMIT: parts of one file. 2 TiB in parts of 700 MiB are 3000.
const MAX_PARTS: usize = 10_000;

/// The number of a part, as its name has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PartName {
    /// What comes before the number: `disk.img.`
    stem: String,
    /// The number, as text of the same length for all parts.
    digits: String,
}

impl PartName {
    /// The number at the end of `name`; `None` if it has none.
    fn of(name: &str) -> Option<Self> {
        let (stem, digits) = name.rsplit_once('.')?;
        let is_number = digits.len() >= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        // `split` begins with `aa`; others are the usual ends of names.
        let is_letters = (2..=4).contains(&digits.len())
            && digits.starts_with('a')
            && digits.bytes().all(|byte| byte.is_ascii_lowercase());
        let good = !stem.is_empty() && (is_number || is_letters) && digits.len() <= 9;
        good.then(|| Self { stem: format!("{stem}."), digits: digits.to_owned() })
    }

    /// Whether a file is cut from here on: 000, 001, aa.
    fn is_first(&self) -> bool {
        let rest = self.digits.trim_start_matches('0');
        self.digits.bytes().all(|byte| byte == b'a') || rest.is_empty() || rest == "1"
    }

    /// The first part of what this one may be a part of.
    fn firsts(&self) -> Vec<Self> {
        let first = |digits: String| Self { stem: self.stem.clone(), digits };
        let width = self.digits.len();
        if self.digits.bytes().all(|byte| byte.is_ascii_digit()) {
            vec![first("0".repeat(width)), first(format!("{:0width$}", 1))]
        } else {
            vec![first("a".repeat(width))]
        }
    }

    /// The next part; `None` after the last number.
    fn next(&self) -> Option<Self> {
        let mut digits = self.digits.clone().into_bytes();
        for digit in digits.iter_mut().rev() {
            let (last, first) = if digit.is_ascii_digit() { (b'9', b'0') } else { (b'z', b'a') };
            if *digit != last {
                *digit = digit.saturating_add(1);
                let digits = String::from_utf8(digits).ok()?;
                return Some(Self { stem: self.stem.clone(), digits });
            }
            *digit = first;
        }
        None
    }

    fn file_name(&self) -> String {
        format!("{}{}", self.stem, self.digits)
    }
}

/// The name of a file without the number of the part: `disk.vmdk` of `disk.vmdk.001`.
pub fn without_part_number(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let part = PartName::of(name).filter(PartName::is_first)?;
    Some(path.with_file_name(part.stem.trim_end_matches('.')))
}

/// The file that the one in `first`, which lies at `path`, is the first part of, and the names of the
/// other parts. Where there is no other part it is the file itself.
///
/// # Errors
/// `MissingPart` if a part between others is missing, `Corrupt` if one has another size than the
/// first, `Refused` for a part that is not the first.
pub fn join(first: Located, path: &Path) -> BlockResult<(Located, Vec<String>)> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(PartName::of);
    let Some(name) = name else { return Ok((first, Vec::new())) };
    match first_of(&first, &name) {
        // Some begin with 0 and some with 1.
        Some(whole) if whole != name.file_name() => {
            return Err(BlockError::refused(format!(
                "is a part of a file that was cut; open the first part, {whole}"
            )));
        }
        None if !name.is_first() => return Ok((first, Vec::new())),
        _ => {}
    }
    let mut parts = vec![Arc::clone(&first.device)];
    let mut names = Vec::new();
    let mut next = name.next();
    while let Some(part) = next {
        let Ok(file) = first.files.open(Path::new(&part.file_name())) else {
            check_gap(&first, &part)?;
            break;
        };
        if parts.len() >= MAX_PARTS {
            let line = format!("file was cut into more than {MAX_PARTS} parts");
            return Err(BlockError::unsupported(line));
        }
        parts.push(file.device);
        names.push(file.name);
        next = part.next();
    }
    if names.is_empty() {
        return Ok((first, names));
    }
    let device = Arc::new(Mapped::new(Joined::new(parts, &names)?));
    Ok((Located { device, ..first }, names))
}

/// The name of the first part of the file that `file`, called `name`, is a part of, if it is there.
fn first_of(file: &Located, name: &PartName) -> Option<String> {
    let own = name.file_name();
    let mut firsts = name.firsts().into_iter().map(|first| first.file_name());
    // No policy gives a file itself.
    firsts.find(|first| *first == own || file.files.open(Path::new(first)).is_ok())
}

/// Refuses what has a part after the missing one, `missing`.
fn check_gap(first: &Located, missing: &PartName) -> BlockResult<()> {
    let after =
        missing.next().filter(|after| first.files.open(Path::new(&after.file_name())).is_ok());
    match after {
        Some(after) => Err(BlockError::missing(format!(
            "part {} is missing, and {} is there; put it beside the others",
            missing.file_name(),
            after.file_name()
        ))),
        None => Ok(()),
    }
}

/// Parts one after the other.
struct Joined {
    /// INVARIANT: all but the last have the size `part_size`, which is not 0.
    parts: Vec<Arc<dyn BlockDevice>>,
    part_size: u64,
    size: u64,
}

impl Joined {
    /// The `parts` in their order; `others` are the names of all but the first.
    fn new(parts: Vec<Arc<dyn BlockDevice>>, others: &[String]) -> BlockResult<Self> {
        let part_size = parts.first().map_or(0, |part| part.size());
        let mut size = part_size;
        for (index, (part, name)) in parts.iter().skip(1).zip(others).enumerate() {
            let is_last = index.saturating_add(1) == others.len();
            let found = part.size();
            if part_size == 0 || found > part_size || (found < part_size && !is_last) {
                let line = format!(
                    "part {name} has {found} bytes, the first part {part_size}; copy it again"
                );
                return Err(BlockError::new(BlockErrorKind::Corrupt, line));
            }
            size = size.saturating_add(found);
        }
        Ok(Self { parts, part_size, size })
    }
}

impl Map for Joined {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let index = offset.checked_div(self.part_size).unwrap_or(0);
        let within = offset.checked_rem(self.part_size).unwrap_or(0);
        let part = usize::try_from(index).ok().and_then(|index| self.parts.get(index));
        let part = part.ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))?;
        let length = part.size().saturating_sub(within);
        Ok(Piece::new(Place::At(&**part, within), length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Files, read};

    fn joined(files: &Files, name: &str) -> BlockResult<(Vec<u8>, Vec<String>)> {
        let (file, parts) = join(files.located(name), Path::new(name))?;
        let size = usize::try_from(file.device.size()).unwrap();
        Ok((read(&*file.device, 0, size)?, parts))
    }

    #[test]
    fn parts_follow_each_other_by_their_numbers() {
        for names in [
            ["d.001", "d.002", "d.003"],
            ["d.000", "d.001", "d.002"],
            ["d.img.0001", "d.img.0002", "d.img.0003"],
            ["d.vmdk.000000000", "d.vmdk.000000001", "d.vmdk.000000002"],
            ["x.aa", "x.ab", "x.ac"],
            ["x.aaa", "x.aab", "x.aac"],
        ] {
            let files = Files::default();
            let files = files.with(names[0], *b"abcd").with(names[1], *b"efgh");
            let files = files.with(names[2], *b"ij").with("d.txt", *b"").with("x.zip", *b"");
            let (bytes, parts) = joined(&files, names[0]).unwrap();
            assert_eq!(bytes, b"abcdefghij");
            assert_eq!(parts, names[1..]);
            let error = joined(&files, names[2]).unwrap_err().to_string();
            assert!(joined(&files, names[1]).is_err());
            assert!(error.ends_with(&format!("open the first part, {}", names[0])), "{error}");
        }
        let many = (1..=1200).fold(Files::default(), |files, number| {
            files.with(&format!("m.{number:03}"), [u8::try_from(number % 256).unwrap()])
        });
        assert_eq!(joined(&many, "m.001").unwrap().0.len(), 999, "four digits are another row");
    }

    #[test]
    fn what_has_no_second_part_is_itself() {
        let files = Files::default().with("d.001", *b"abcd").with("a.aa", *b"x").with("e.7", *b"y");
        for name in ["d.001", "a.aa", "e.7"] {
            assert!(joined(&files, name).unwrap().1.is_empty());
        }
        let files = Files::default().with("d.002", *b"abcd");
        assert_eq!(joined(&files, "d.002").unwrap().0, b"abcd", "its first part is not there");
    }

    #[test]
    fn a_gap_or_a_short_part_in_the_middle_is_refused() {
        let files = Files::default().with("d.001", *b"abcd");
        let gap = files.clone().with("d.003", *b"ef");
        let error = joined(&gap, "d.001").unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::MissingPart);
        let line = "part d.002 is missing, and d.003 is there; put it beside the others";
        assert_eq!(error.message(), line);
        let short = files.clone().with("d.002", *b"ef").with("d.003", *b"gh");
        let error = joined(&short, "d.001").unwrap_err();
        let line = "part d.002 has 2 bytes, the first part 4; copy it again";
        assert_eq!(error.message(), line);
        assert!(joined(&files.with("d.002", *b"efghi"), "d.001").is_err(), "a longer one");
    }

    #[test]
    fn the_name_of_the_whole_is_that_before_the_number() {
        let whole = |path: &str| without_part_number(Path::new(path));
        assert_eq!(whole("/a/d.vmdk.001").as_deref(), Some(Path::new("/a/d.vmdk")));
        assert_eq!(whole("d.vmdk.000000000").as_deref(), Some(Path::new("d.vmdk")));
        assert_eq!((whole("d.vmdk"), whole("d.002"), whole(".001")), (None, None, None));
    }
}
