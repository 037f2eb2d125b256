//! What the integration tests share: the test images, listings, and comparisons with them.

pub(crate) mod attributes;
pub(crate) mod compare;
pub(crate) mod corpus;
pub(crate) mod damage;
pub(crate) mod fixtures;
pub(crate) mod listing;
#[cfg(target_os = "linux")]
pub(crate) mod mounted;
pub(crate) mod program;
pub(crate) mod sets;

use data_encoding::HEXLOWER;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends the test as ignored unless mounts can be made here.
#[cfg(target_os = "linux")]
pub(crate) fn needs_mount() {
    crate::harness::needs_path("/dev/fuse");
    if !rustix::process::geteuid().is_root() {
        crate::harness::needs_programs(&["fusermount3"]);
    }
}

/// `<temporary folder>/<name>-<user>`, made if missing; `VOLFOLD_TEST_CACHE` names another place, so
/// that the tests of another system on this machine find what was unpacked.
pub(crate) fn user_folder(name: &str) -> PathBuf {
    if let Some(cache) = std::env::var_os("VOLFOLD_TEST_CACHE") {
        let folder = PathBuf::from(cache).join(name);
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        return folder;
    }
    let user = Command::new("id").arg("-u").output().map_or_else(
        |_| "user".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    let folder = std::env::temp_dir().join(format!("{name}-{user}"));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}

/// Moves `part` to `target`. Other test processes may have done so, and may have it open.
pub(crate) fn put_in_place(part: &Path, target: &Path) {
    if let Err(error) = std::fs::rename(part, target) {
        let size = |path: &Path| std::fs::metadata(path).map(|facts| facts.len()).ok();
        assert!(size(target) == size(part), "{}: {error}", target.display());
        let _ = std::fs::remove_file(part);
    }
}

/// What `tool -dc path` gives.
pub(crate) fn unpack_by_tool(tool: &str, path: &Path) -> Vec<u8> {
    let output = Command::new(tool).arg("-dc").arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("{tool}: {error}"));
    assert!(output.status.success(), "{tool} -dc {}", path.display());
    output.stdout
}

/// The SHA-256 of `bytes` in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(bytes))
}
