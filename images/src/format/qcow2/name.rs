//! What an image calls another file: the forms that QEMU writes.
//!
//! A plain path, `file:PATH`, or `json:{...}` with the options of QEMU's block drivers, nested or with
//! dots: `json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}` is
//! `json:{"driver":"qcow2","file.filename":"base.qcow2"}`. Options that change what is read are
//! refused, as are files on other machines.

use std::path::Path;

use serde_json::{Map, Value};
use volfold_block::{BlockError, BlockErrorKind, BlockResult};

use crate::context::ImageContext;
use crate::format::DiskImage;
use crate::locator::Located;

/// Drivers of QEMU that give the bytes of a file of this machine.
const FILE_DRIVERS: [&str; 3] = ["file", "host_device", "host_cdrom"];

/// Options that say how the host reads, not what.
const HARMLESS: [&str; 17] = [
    "driver",
    "file",
    "filename",
    "node-name",
    "read-only",
    "auto-read-only",
    "force-share",
    "discard",
    "detect-zeroes",
    "locking",
    "aio",
    "cache",
    "cache.direct",
    "cache.no-flush",
    "lazy-refcounts",
    "drop-cache",
    "x-check-cache-dropped",
];

/// A file of this machine that an image names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    /// As the image has it; a relative one starts beside the image.
    pub(crate) path: String,
    /// The format that the name itself says that the file has, by our id.
    pub(crate) format: Option<String>,
}

impl FileName {
    /// What `text` names, which the image calls `role` (`parent`).
    ///
    /// # Errors
    /// `Unsupported` if that is no file of this machine.
    pub(crate) fn parse(text: &str, role: &str) -> BlockResult<Self> {
        if let Some(options) = text.strip_prefix("json:") {
            return from_json(options, role);
        }
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self { path: path.to_owned(), format: None });
        }
        match protocol(text) {
            Some(protocol) => Err(elsewhere(role, text, protocol)),
            None => Ok(Self { path: text.to_owned(), format: None }),
        }
    }

    /// Opens the file, which the image in `child` calls `role`.
    ///
    /// # Errors
    /// Why there is none that may be opened.
    pub(crate) fn open(&self, child: &Located, role: &str) -> BlockResult<Located> {
        let called = format!("{role} {}", self.path);
        child.files.open(Path::new(&self.path)).map_err(|error| match error.kind() {
            BlockErrorKind::MissingPart => {
                BlockError::missing(format!("{called} is missing; put it beside the image"))
            }
            _ => error.within(&called),
        })
    }

    /// The names of the files that it may mean.
    pub(crate) fn candidates(&self, child: &Located) -> Vec<String> {
        let found = child.files.candidates(Path::new(&self.path)).unwrap_or_default();
        found.into_iter().map(|file| file.name).collect()
    }

    /// Whether it says of no folder where the file is.
    pub(crate) fn is_beside(&self) -> bool {
        !self.path.contains(['/', '\\'])
    }
}

/// Opens the parent that the image in `child` names by `text`; `declared` is the format that it says
/// that one has, as QEMU calls it.
///
/// # Errors
/// Why it cannot be opened.
pub(crate) fn open_parent(
    child: &Located,
    text: &str,
    declared: Option<&str>,
    context: &ImageContext,
) -> BlockResult<DiskImage> {
    let name = FileName::parse(text, "parent")?;
    let parent = name.open(child, "parent")?;
    let called = format!("parent {}", name.path);
    let declared = name.format.as_deref().or(declared.map(format_id));
    context.open_parent(child, parent, &called, declared)
}

/// Our id of the format that QEMU calls `name`.
fn format_id(name: &str) -> &str {
    match name {
        "vpc" => "vhd",
        "qcow" => "qcow2",
        name if FILE_DRIVERS.contains(&name) => "raw",
        name => name,
    }
}

/// The protocol that `text` begins with, as QEMU looks for one: letters before a colon, before any
/// slash. One letter is a drive of Windows.
fn protocol(text: &str) -> Option<&str> {
    let (before, _) = text.split_once([':', '/', '\\'])?;
    let is_one = before.len() > 1 && text.get(before.len()..).is_some_and(|it| it.starts_with(':'));
    is_one.then_some(before)
}

fn elsewhere(role: &str, text: &str, protocol: &str) -> BlockError {
    let network = [
        "nbd", "http", "https", "ftp", "ftps", "iscsi", "rbd", "ssh", "sftp", "nfs", "gluster",
        "sheepdog", "vxhs", "tftp", "nvme",
    ];
    let shown: String = text.chars().filter(|it| !it.is_control()).take(200).collect();
    let scheme = protocol.split('+').next().unwrap_or_default();
    let line = if network.contains(&scheme) {
        format!(
            "{role} {shown} is not a file of this machine; copy the whole chain into one folder"
        )
    } else {
        format!("{role} {shown} is not a file: the driver {protocol} of QEMU gives it")
    };
    BlockError::unsupported(line)
}

/// The options of one driver, those that are written with dots put where they belong.
fn nested(options: Map<String, Value>) -> Map<String, Value> {
    let (mut own, mut file) = (Map::new(), Map::new());
    for (key, value) in options {
        match key.strip_prefix("file.") {
            Some(key) => drop(file.insert(key.to_owned(), value)),
            None => drop(own.insert(key, value)),
        }
    }
    if !file.is_empty() {
        match own.get_mut("file").and_then(Value::as_object_mut) {
            Some(known) => known.extend(file),
            None => drop(own.insert("file".to_owned(), Value::Object(file))),
        }
    }
    own
}

fn from_json(options: &str, role: &str) -> BlockResult<FileName> {
    let strange = |problem: &str| {
        BlockError::unsupported(format!("{role} is named by options of QEMU that {problem}"))
    };
    let value: Value =
        serde_json::from_str(options).map_err(|error| strange("are no JSON").because(error))?;
    let Value::Object(mut options) = value else {
        return Err(strange("are no JSON object"));
    };
    let mut format = None;
    // A format over a file; filters over formats are not read.
    for is_outer in [true, false] {
        options = nested(options);
        if let Some(key) = options.keys().find(|key| !HARMLESS.contains(&key.as_str())) {
            let line = format!("{role} is named with the option {key} of QEMU, which is not read");
            return Err(BlockError::unsupported(line));
        }
        let driver = options.get("driver").and_then(Value::as_str).map(str::to_owned);
        if let Some(path) = options.get("filename") {
            let path = path.as_str().ok_or_else(|| strange("name no file"))?;
            return match driver.as_deref() {
                Some(driver) if !FILE_DRIVERS.contains(&driver) => {
                    Err(elsewhere(role, path, driver))
                }
                _ => Ok(FileName { path: path.to_owned(), format }),
            };
        }
        match (is_outer, options.remove("file")) {
            (true, Some(Value::Object(inner))) => options = inner,
            _ => {
                return Err(match driver {
                    Some(driver) => elsewhere(role, &format!("({driver})"), &driver),
                    None => strange("name no file"),
                });
            }
        }
        format = driver.map(|driver| format_id(&driver).to_owned());
    }
    Err(strange("name no file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, Option<String>) {
        let name = FileName::parse(text, "parent").unwrap();
        (name.path, name.format)
    }

    fn error(text: &str) -> String {
        let error = FileName::parse(text, "parent").unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::Unsupported);
        error.message().to_owned()
    }

    #[test]
    fn names_of_files_are_understood_in_every_form() {
        for (text, path, format) in [
            ("base.qcow2", "base.qcow2", None),
            ("../a:b/base.qcow2", "../a:b/base.qcow2", None),
            ("C:\\images\\base.vhd", "C:\\images\\base.vhd", None),
            ("c:/images/base.vhd", "c:/images/base.vhd", None),
            ("file:a:b.qcow2", "a:b.qcow2", None),
            ("file:///images/base", "///images/base", None),
            (r#"json:{"driver":"file","filename":"a"}"#, "a", None),
            (r#"json:{"filename":"a"}"#, "a", None),
            (r#"json:{"driver":"vpc","file":{"driver":"file","filename":"a"}}"#, "a", Some("vhd")),
            (
                r#"json:{"driver":"qcow2","file.filename":"a","file.driver":"file"}"#,
                "a",
                Some("qcow2"),
            ),
            (r#"json:{"file":{"filename":"a"},"driver":"raw"}"#, "a", Some("raw")),
            (
                r#"json:{"driver":"qcow2","file":{"driver":"host_device","filename":"/dev/sdx"},"node-name":"x"}"#,
                "/dev/sdx",
                Some("qcow2"),
            ),
        ] {
            assert_eq!(parse(text), (path.to_owned(), format.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn what_is_no_file_of_this_machine_is_refused_by_name() {
        let sentence = "parent nbd://host/disk is not a file of this machine; copy the whole chain \
                        into one folder";
        assert_eq!(error("nbd://host/disk"), sentence);
        for text in ["nbd:host:10809", "https://a/b.qcow2", "gluster+tcp://a/b", "rbd:pool/disk"] {
            assert!(error(text).contains("is not a file of this machine"), "{text}");
        }
        assert!(error("blkdebug:a:b").ends_with("the driver blkdebug of QEMU gives it"));
        let json = r#"json:{"driver":"nbd","server":{"host":"a"}}"#;
        assert!(error(json).contains("the option server of QEMU"), "{}", error(json));
        let json = r#"json:{"driver":"raw","file":{"driver":"nbd","filename":"a"}}"#;
        assert!(error(json).contains("is not a file of this machine"));
        let json = r#"json:{"driver":"raw","offset":512,"file":{"filename":"a"}}"#;
        assert!(error(json).contains("the option offset of QEMU"));
        for json in ["json:{", "json:[]", "json:{}", "json:7", r#"json:{"filename":7}"#] {
            assert!(error(json).starts_with("parent is named by options of QEMU"), "{json}");
        }
        let deep = r#"json:{"file":{"file":{"filename":"a"}}}"#;
        assert!(error(deep).ends_with("name no file"), "{}", error(deep));
        let many = format!("json:{}", "[".repeat(1000));
        assert!(error(&many).ends_with("are no JSON"));
    }
}
