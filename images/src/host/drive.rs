//! Drives that give whole sectors only and do not tell their size: `\\.\PhysicalDriveN` of Windows.
//!
//! Windows tells the size of a drive to a control request alone, which `std` does not have. Reads
//! tell it as well: the last sector can be read, the next one cannot.

use std::io;

use volfold_block::byte_count;

/// The sector sizes that drives have.
const SECTOR_SIZES: [u32; 2] = [512, 4096];

/// LIMIT: sectors of a drive; positions on Windows are signed numbers of 64 bits.
const MAX_SECTORS: u64 = 1 << 50;

/// Bytes read at once for requests that do not begin or end with a sector.
const BOUNCE: usize = 64 << 10;

/// `ERROR_SECTOR_NOT_FOUND`, `ERROR_HANDLE_EOF`, `ERROR_INVALID_PARAMETER`: drivers say each of
/// them of what lies past the end.
const PAST_THE_END: [i32; 3] = [27, 38, 87];

/// `ERROR_CRC`, `ERROR_DEVICE_HARDWARE_ERROR`, `ERROR_IO_DEVICE`: a sector that is there, and bad.
const BAD_SECTOR: [i32; 3] = [23, 483, 1117];

/// Fills all of a buffer from an offset.
pub(super) type SectorRead<'a> = &'a dyn Fn(u64, &mut [u8]) -> io::Result<()>;

/// The sector size and the size of a drive, found by reading.
///
/// # Errors
/// If the drive cannot be read at all.
pub(super) fn measure(read: SectorRead<'_>) -> io::Result<(u32, u64)> {
    for sector_size in SECTOR_SIZES {
        if is_there(read, 0, sector_size)? {
            let sectors = count_sectors(read, sector_size)?;
            return Ok((sector_size, sectors.saturating_mul(u64::from(sector_size))));
        }
    }
    Ok((512, 0))
}

/// How many sectors there are; the first is there.
fn count_sectors(read: SectorRead<'_>, sector_size: u32) -> io::Result<u64> {
    // The sector `last` is there and `past` is not.
    let (mut last, mut past) = (0, 1);
    while is_there(read, past, sector_size)? {
        last = past;
        past = past.saturating_mul(2);
        if past > MAX_SECTORS {
            return Err(io::Error::other("the drive has no end"));
        }
    }
    while let Some(middle) = last.checked_add(past).map(|sum: u64| sum >> 1)
        && middle > last
    {
        if is_there(read, middle, sector_size)? {
            last = middle;
        } else {
            past = middle;
        }
    }
    Ok(past)
}

fn is_there(read: SectorRead<'_>, sector: u64, sector_size: u32) -> io::Result<bool> {
    let mut buf = vec![0; to_index(sector_size.into())];
    match read(sector.saturating_mul(u64::from(sector_size)), &mut buf) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => match error.raw_os_error() {
            Some(code) if PAST_THE_END.contains(&code) => Ok(false),
            Some(code) if BAD_SECTOR.contains(&code) => Ok(true),
            _ => Err(error),
        },
    }
}

/// A number of bytes of a buffer in memory.
fn to_index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Fills `buf` from `offset` by requests that begin and end with a sector.
pub(super) fn read_sectors(
    sector_size: u32,
    offset: u64,
    buf: &mut [u8],
    read: SectorRead<'_>,
) -> io::Result<()> {
    let sector_size = u64::from(sector_size);
    let within_sector = |offset: u64| offset.checked_rem(sector_size).unwrap_or(0);
    if within_sector(offset) == 0 && within_sector(byte_count(buf.len())) == 0 {
        return read(offset, buf);
    }
    let mut bounce = vec![0; BOUNCE];
    let (mut at, mut rest) = (offset, buf);
    while !rest.is_empty() {
        let skip = within_sector(at);
        let wanted = skip.saturating_add(byte_count(rest.len())).next_multiple_of(sector_size);
        let wanted = to_index(wanted).min(BOUNCE);
        let piece = bounce.get_mut(..wanted).unwrap_or_default();
        read(at.saturating_sub(skip), piece)?;
        let piece = piece.get(to_index(skip)..).unwrap_or_default();
        let count = piece.len().min(rest.len());
        let (filled, left) = rest.split_at_mut(count);
        filled.copy_from_slice(piece.get(..count).unwrap_or_default());
        at = at.saturating_add(byte_count(count));
        rest = left;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A drive that refuses what a drive refuses.
    struct Drive {
        bytes: Vec<u8>,
        sector_size: usize,
        past: i32,
        bad: Vec<u64>,
        reads: Cell<u32>,
    }

    impl Drive {
        fn new(sectors: usize, sector_size: usize) -> Self {
            let bytes = (0..sectors * sector_size).map(|at| (at / 7 % 251) as u8).collect();
            Self { bytes, sector_size, past: 27, bad: Vec::new(), reads: Cell::new(0) }
        }

        fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            self.reads.set(self.reads.get() + 1);
            let at = usize::try_from(offset).unwrap();
            if !at.is_multiple_of(self.sector_size) || !buf.len().is_multiple_of(self.sector_size) {
                return Err(io::Error::from_raw_os_error(87));
            }
            if self.bad.contains(&offset) {
                return Err(io::Error::from_raw_os_error(23));
            }
            let bytes = self.bytes.get(at..at + buf.len());
            buf.copy_from_slice(bytes.ok_or_else(|| io::Error::from_raw_os_error(self.past))?);
            Ok(())
        }

        fn measure(&self) -> (u32, u64) {
            measure(&|offset, buf: &mut [u8]| self.read(offset, buf)).unwrap()
        }
    }

    #[test]
    fn a_drive_of_any_number_of_sectors_is_measured() {
        for sectors in [1, 2, 3, 4, 5, 63, 64, 65, 1000, 1023, 2049] {
            for sector_size in [512, 4096] {
                for past in PAST_THE_END {
                    let drive = Drive { past, ..Drive::new(sectors, sector_size) };
                    let wanted = (sector_size as u32, (sectors * sector_size) as u64);
                    assert_eq!(drive.measure(), wanted);
                    assert!(drive.reads.get() < 40, "{}", drive.reads.get());
                }
            }
        }
        assert_eq!(Drive::new(0, 512).measure(), (512, 0));
    }

    #[test]
    fn a_bad_sector_is_not_the_end() {
        let mut drive = Drive::new(1000, 512);
        drive.bad = (0..1000).map(|sector| sector * 512).collect();
        assert_eq!(drive.measure(), (512, 512_000));
    }

    #[test]
    fn a_drive_that_cannot_be_read_or_does_not_end_is_an_error() {
        assert!(measure(&|_, _| Err(io::Error::from_raw_os_error(5))).is_err());
        assert!(measure(&|_, _| Ok(())).is_err());
    }

    #[test]
    fn reads_of_any_place_and_length_are_reads_of_whole_sectors() {
        let drive = Drive::new(300, 4096);
        for offset in [0, 1, 511, 4095, 4096, 65_535, 65_536, 70_001] {
            for length in [0, 1, 100, 4096, 65_536, 65_537, 200_000] {
                let mut buf = vec![0xEE; length];
                read_sectors(4096, offset, &mut buf, &|at, buf| drive.read(at, buf)).unwrap();
                let at = usize::try_from(offset).unwrap();
                assert!(buf == drive.bytes[at..at + length], "{length} at {offset}");
            }
        }
        let mut buf = vec![0; 100];
        let end = drive.bytes.len() as u64;
        let past = read_sectors(4096, end - 50, &mut buf, &|at, buf| drive.read(at, buf));
        assert!(past.is_err());
    }
}
