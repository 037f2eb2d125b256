//! The Open Virtualization Format (`.ovf`).
//!
//! Specification: DMTF DSP0243, sections 7 (references) and 9.1 (disks). A `Disk` names a `File` of
//! the references by its id, and that one the file: `href` relative to the package; with `chunkSize` it
//! was cut into `href.000000000` and so on.

use std::path::PathBuf;

use volfold_block::BlockResult;
use volfold_images::FileName;
use volfold_images::xml::{attribute, child, children, document, utf8};

use super::config::{CONFIGURATION, MAX_DISKS, Machine, MachineDisk};

/// The machine that `bytes` describe.
pub(super) fn read(bytes: &[u8]) -> BlockResult<Machine> {
    let document = document(CONFIGURATION, utf8(CONFIGURATION, bytes)?)?;
    let envelope = document.root_element();
    let mut machine = Machine::default();
    let (Some(references), Some(disks)) =
        (child(envelope, "References"), child(envelope, "DiskSection"))
    else {
        return Ok(machine);
    };
    // More than are taken are not looked for.
    for disk in children(disks, "Disk").take(MAX_DISKS.saturating_add(1)) {
        let slot = attribute(disk, "diskId").unwrap_or("disk").to_owned();
        // One without a file is made when the machine is.
        let Some(wanted) = attribute(disk, "fileRef") else { continue };
        let mut files = children(references, "File");
        let file = files.find(|file| attribute(*file, "id") == Some(wanted));
        let href = file.and_then(|file| attribute(file, "href")).unwrap_or_default();
        if href.is_empty() {
            machine.leave_out(slot, format!("its file, {wanted}, is not among the references"));
        } else if href.contains("://") {
            machine.leave_out(slot, format!("its file is on a network: {href}"));
        } else {
            let is_cut = file.is_some_and(|file| attribute(file, "chunkSize").is_some());
            machine.disks.push(MachineDisk { slot, file: spellings(href, is_cut), format: None });
        }
    }
    Ok(machine)
}

/// What the reference `href` may be called: as it is written, and without its escapes.
fn spellings(href: &str, is_cut: bool) -> FileName {
    let end = if is_cut { ".000000000" } else { "" };
    let mut names = vec![format!("{href}{end}")];
    let plain = format!("{}{end}", without_escapes(href));
    if !names.contains(&plain) {
        names.push(plain);
    }
    FileName { shown: href.to_owned(), spellings: names.into_iter().map(PathBuf::from).collect() }
}

/// The text without its percent-encoding (RFC 3986, section 2.1).
fn without_escapes(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.first_chunk::<2>().filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_the_files_that_the_references_tell() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
                      xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
              <References>
                <File ovf:href="web%20one-disk1.vmdk" ovf:id="file1" ovf:size="1"/>
                <File ovf:href="big.vmdk" ovf:id="file2" ovf:chunkSize="7516192768"/>
                <File ovf:href="http://host/x.vmdk" ovf:id="file3"/>
                <File ovf:href="cd.iso" ovf:id="file4"/>
              </References>
              <DiskSection><Info>disks</Info>
                <Disk ovf:diskId="vmdisk1" ovf:fileRef="file1"/>
                <Disk ovf:diskId="vmdisk2" ovf:fileRef="file2"/>
                <Disk ovf:diskId="vmdisk3" ovf:capacity="8"/>
                <Disk ovf:diskId="vmdisk4" ovf:fileRef="file3"/>
                <Disk ovf:diskId="vmdisk5" ovf:fileRef="file9"/>
              </DiskSection>
            </Envelope>"#;
        let machine = read(text.as_bytes()).unwrap();
        let names: Vec<_> = machine.disks.iter().map(|disk| disk.file.spellings.clone()).collect();
        let of = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            names,
            [of(&["web%20one-disk1.vmdk", "web one-disk1.vmdk"]), of(&["big.vmdk.000000000"])]
        );
        let left: Vec<_> = machine.left_out.iter().map(|(slot, _)| slot.as_str()).collect();
        assert_eq!(left, ["vmdisk4", "vmdisk5"]);
        assert!(read(b"<a><b></a>").unwrap_err().message().starts_with("configuration is no XML"));
        assert!(read(b"\xFF\xFE<\0").is_err());
    }
}
