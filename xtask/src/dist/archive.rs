//! The archives, and the list of their digests.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{Package, at, files, same};
use crate::Failure;

const EXECUTABLE: u32 = 0o755;
const PLAIN: u32 = 0o644;

/// Packs the folder. The same files make the same archive: no times, no owners.
pub(super) fn zip(package: &Package) -> Result<(), Failure> {
    let path = package.file("zip");
    let mut archive = ZipWriter::new(File::create(&path).map_err(at(&path))?);
    for name in files(&package.folder())? {
        let file = package.folder().join(&name);
        let mode = if file == package.program() { EXECUTABLE } else { PLAIN };
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(9))
            .unix_permissions(mode);
        archive.start_file(format!("{}/{name}", package.name()), options).map_err(at(&path))?;
        let bytes = fs::read(&file).map_err(at(&file))?;
        archive.write_all(&bytes).map_err(at(&path))?;
    }
    archive.finish().map(drop).map_err(at(&path))
}

/// Unpacked, the archive is the folder.
pub(super) fn check_zip(package: &Package) -> Result<(), Failure> {
    let path = package.file("zip");
    let temp = tempfile::tempdir().map_err(at(&path))?;
    let mut archive = ZipArchive::new(File::open(&path).map_err(at(&path))?).map_err(at(&path))?;
    archive.extract(temp.path()).map_err(at(&path))?;
    same(&package.folder(), &temp.path().join(package.name()))
}

/// Packs the folder for the systems that have tar.
pub(super) fn tar_gz(package: &Package) -> Result<(), Failure> {
    let path = package.file("tar.gz");
    let out = File::create(&path).map_err(at(&path))?;
    let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::best()));
    for name in files(&package.folder())? {
        let file = package.folder().join(&name);
        let bytes = fs::read(&file).map_err(at(&file))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(bytes.len()).map_err(at(&file))?);
        header.set_mode(if file == package.program() { EXECUTABLE } else { PLAIN });
        let name = format!("{}/{name}", package.name());
        archive.append_data(&mut header, name, bytes.as_slice()).map_err(at(&path))?;
    }
    let encoder = archive.into_inner().map_err(at(&path))?;
    encoder.finish().map(drop).map_err(at(&path))
}

/// Unpacked, the archive is the folder.
pub(super) fn check_tar_gz(package: &Package) -> Result<(), Failure> {
    let path = package.file("tar.gz");
    let temp = tempfile::tempdir().map_err(at(&path))?;
    let packed = File::open(&path).map_err(at(&path))?;
    tar::Archive::new(GzDecoder::new(packed)).unpack(temp.path()).map_err(at(&path))?;
    same(&package.folder(), &temp.path().join(package.name()))
}

/// The SHA-256 of a file, in lower-case digits.
pub(super) fn digest(path: &Path) -> Result<String, Failure> {
    let mut digest = Sha256::new();
    let mut file = io::BufReader::with_capacity(1 << 20, File::open(path).map_err(at(path))?);
    let mut piece = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut piece).map_err(at(path))?;
        match piece.get(..count) {
            Some(bytes) if count > 0 => digest.update(bytes),
            _ => return Ok(HEXLOWER.encode(&digest.finalize())),
        }
    }
}

/// Writes `SHA256SUMS` of every package in `out`, in the form of `sha256sum`.
pub(super) fn checksums(out: &Path) -> Result<(), Failure> {
    let mut lines = String::new();
    for name in files(out)? {
        let is_package = [".zip", ".msi", ".tar.gz"].iter().any(|ending| name.ends_with(ending));
        if is_package && !name.contains('/') {
            let digest = digest(&out.join(&name))?;
            lines.push_str(&format!("{digest}  {name}\n"));
        }
    }
    print!("{lines}");
    let path = out.join("SHA256SUMS");
    fs::write(&path, lines).map_err(at(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_hold_the_folder_and_are_the_same_each_time() {
        let temp = tempfile::tempdir().unwrap();
        let package = Package {
            version: "1.2.3",
            triple: "x86_64-pc-windows-msvc".to_owned(),
            out: temp.path().to_owned(),
        };
        fs::create_dir_all(package.folder().join("docs")).unwrap();
        fs::write(package.program(), vec![7; 100_000]).unwrap();
        fs::write(package.folder().join("docs/a.md"), "text").unwrap();
        zip(&package).unwrap();
        check_zip(&package).unwrap();
        tar_gz(&package).unwrap();
        check_tar_gz(&package).unwrap();
        let first = (digest(&package.file("zip")), digest(&package.file("tar.gz")));
        zip(&package).unwrap();
        tar_gz(&package).unwrap();
        assert_eq!(first, (digest(&package.file("zip")), digest(&package.file("tar.gz"))));

        fs::write(package.folder().join("docs/a.md"), "other").unwrap();
        assert!(check_zip(&package).unwrap_err().contains("docs/a.md has other bytes"));
        assert!(check_tar_gz(&package).unwrap_err().contains("docs/a.md has other bytes"));
    }

    #[test]
    fn checksums_are_those_of_the_packages() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("a.zip"), "abc").unwrap();
        fs::write(temp.path().join("note.txt"), "abc").unwrap();
        checksums(temp.path()).unwrap();
        // FIPS 180-4's example.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sums = fs::read_to_string(temp.path().join("SHA256SUMS")).unwrap();
        assert_eq!(sums, format!("{abc}  a.zip\n"));
    }
}
