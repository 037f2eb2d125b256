//! What the double does with a volume that a program mounted: walks it, as several programs would.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use volfold_projector::folder::winfsp::abi::NtStatus;

use crate::requests::{Double, OPEN_REPARSE_POINT, Requests, list};

const ATTRIBUTE_DIRECTORY: u32 = 0x10;
const ATTRIBUTE_REPARSE_POINT: u32 = 0x400;

/// A check sum of content: FNV-1a.
fn check_sum(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

/// One line for everything below `\`, by path: attributes, size and the check sum of the content.
///
/// # Errors
/// The status of a request that is never refused on a sound volume.
pub fn walk(
    requests: &dyn Requests,
    page: usize,
    chunk: usize,
) -> Result<BTreeMap<String, String>, NtStatus> {
    let mut lines = BTreeMap::new();
    let mut open = vec![vec![u16::from(b'\\')]];
    while let Some(path) = open.pop() {
        let directory = requests.open(&path, 1, 0)?;
        let (records, _) = list(requests, directory.handle, page)?;
        requests.close(directory.handle);
        for record in records {
            if record.name.iter().all(|unit| *unit == u16::from(b'.')) {
                continue;
            }
            let mut below = path.clone();
            if below.len() > 1 {
                below.push(u16::from(b'\\'));
            }
            below.extend_from_slice(&record.name);
            let info = record.info;
            let mut line = format!("{:#x} {}", info.file_attributes, info.file_size);
            if info.file_attributes & (ATTRIBUTE_DIRECTORY | ATTRIBUTE_REPARSE_POINT) == 0 {
                let sum = content(requests, &below, chunk);
                let _ = match sum {
                    Ok(sum) => write!(line, " {sum:016x}"),
                    Err(status) => write!(line, " status {status:#x}"),
                };
            }
            lines.insert(String::from_utf16_lossy(&below), line);
            if info.file_attributes & (ATTRIBUTE_DIRECTORY | ATTRIBUTE_REPARSE_POINT)
                == ATTRIBUTE_DIRECTORY
            {
                open.push(below);
            }
        }
    }
    Ok(lines)
}

fn content(requests: &dyn Requests, path: &[u16], chunk: usize) -> Result<u64, NtStatus> {
    let file = requests.open(path, 1, OPEN_REPARSE_POINT)?;
    let mut buf = vec![0; chunk];
    let (mut sum, mut offset) = (0xCBF2_9CE4_8422_2325, 0);
    let result = loop {
        if offset >= file.info.file_size {
            break Ok(sum);
        }
        match requests.read(file.handle, offset, &mut buf) {
            Ok(count) => {
                sum = check_sum(sum, &buf[..count]);
                offset += count as u64;
            }
            Err(status) => break Err(status),
        }
    };
    requests.close(file.handle);
    result
}

/// Walks the volume with sizes that depend on `number`, and writes what was seen to `file`, whose
/// name gets the number.
pub(crate) fn report(double: &Double, number: u32, file: &Path) {
    let page = [65536, 1024, 4096, 720][number as usize % 4];
    let chunk = [65536, 4096, 1 << 20, 1000][number as usize % 4];
    let text = match walk(double, page, chunk) {
        Ok(lines) => lines.iter().fold(String::new(), |mut text, (path, line)| {
            let _ = writeln!(text, "{path}\t{line}");
            text
        }),
        Err(status) => format!("status {status:#x}\n"),
    };
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{number}"));
    let part = Path::new(&name).with_extension(format!("{number}.part"));
    let _ = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &name));
}
