//! The table of encrypted volumes of a Linux system: what it calls them once they are open.
//!
//! Specification: crypttab(5) of systemd and of Debian's cryptsetup: name, encrypted device, key file,
//! options.

use super::fstab;

/// What a system opens, and what it is called then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The name in `/dev/mapper`.
    name: String,
    /// The encrypted device, as `UUID=x`.
    pub(crate) source: String,
}

/// The lines of `text`, as many as are looked at.
pub(crate) fn parse(text: &[u8]) -> Vec<Opened> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let lines = lines.filter_map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some(Opened { name: words.next()?, source: words.next()? })
    });
    lines.take(fstab::MAX_LINES).collect()
}

/// What of `table` is opened as the device `source`.
pub(crate) fn find<'a>(table: &'a [Opened], source: &str) -> Option<&'a Opened> {
    let name = source
        .strip_prefix("/dev/mapper/")
        .or_else(|| source.strip_prefix("/dev/disk/by-id/dm-name-"))?;
    table.iter().find(|opened| opened.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_by_the_name_that_it_has_when_open() {
        let table =
            parse(b"# x\n\nhome_crypt UUID=a-b none luks\nswap /dev/sda2 /dev/urandom swap\nx\n");
        assert_eq!(table.len(), 2);
        let found = find(&table, "/dev/mapper/home_crypt").map(|opened| &*opened.source);
        assert_eq!(found, Some("UUID=a-b"));
        let found = find(&table, "/dev/disk/by-id/dm-name-swap").map(|opened| &*opened.source);
        assert_eq!(found, Some("/dev/sda2"));
        assert_eq!(find(&table, "/dev/mapper/other"), None);
        assert_eq!(find(&table, "/dev/sda2"), None);
    }
}
